#include "proxy/listener/pending_connection.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>

#include "filters/listener/inspect.h"
#include "filters/listener/proxy_protocol.h"
#include "proxy/base/log.h"

namespace pinnace::listener {

using filters::listener::Inspection;
using model::ListenerFilterKind;

PendingConnection::PendingConnection(ActiveListener& listener, int fd, const base::Address& remote,
                                     const base::Address& destination, net::ConnectionSlot slot)
    : listener_(listener),
      config_(listener.config_ptr()),
      fd_(fd),
      slot_(std::move(slot)),
      redirected_(destination.kind() != base::Address::Kind::kNone) {
  facts_.source = remote;
  facts_.destination = redirected_ ? destination : net::socket_name(fd);
  facts_.transport_protocol = "raw_buffer";
  timer_.init(
      listener.loop().timers(), [](void* self) { static_cast<PendingConnection*>(self)->on_timeout(); }, this);
}

PendingConnection::~PendingConnection() {
  if (fd_ >= 0) ::close(fd_);
}

void PendingConnection::start() {
  if (config_->filters_timeout_ms > 0 && !config_->filters.empty()) timer_.arm(config_->filters_timeout_ms);
  run();
}

void PendingConnection::run() {
  if (run_filters()) return finish();
  if (ended_ || watched_) return;
  watched_ = true;
  if (listener_.loop().watch(fd_, *this) != 0) close();
}

bool PendingConnection::run_filters() {
  for (; at_ < config_->filters.size(); at_++) {
    const auto& filter = config_->filters[at_];
    if (filter.disabled && filter.disabled->matches(facts_.destination.port())) continue;
    switch (filter.kind) {
      case ListenerFilterKind::kOriginalDst: {
        base::Address destination;
        if (!redirected_ && net::original_destination(fd_, destination) && !(destination == facts_.destination)) {
          facts_.destination = destination;
          redirected_ = true;
        }
        break;
      }
      case ListenerFilterKind::kOriginalSrc:
        if (!facts_.source.is_ip()) break;
        source_ = {filter.bind_port ? facts_.source : facts_.source.with_port(0), true, filter.mark};
        break;
      case ListenerFilterKind::kProxyProtocol:
        if (!take_proxy_header(filter.header_optional)) return false;
        break;
      case ListenerFilterKind::kTlsInspector: {
        if (!peek()) return false;
        filters::listener::TlsFacts tls;
        Inspection answer = filters::listener::inspect_tls(peeked_, tls);
        if (answer == Inspection::kNeedMore && !saw_end_) return false;
        if (answer == Inspection::kYes) {
          facts_.transport_protocol = "tls";
          facts_.server_name = std::move(tls.server_name);
          facts_.alpn = std::move(tls.alpn);
        }
        break;
      }
      case ListenerFilterKind::kHttpInspector: {
        if (facts_.transport_protocol == "tls") break;
        if (!peek()) return false;
        std::string protocol;
        Inspection answer = filters::listener::inspect_http(peeked_, protocol);
        if (answer == Inspection::kNeedMore && !saw_end_) return false;
        if (answer == Inspection::kYes) facts_.alpn = {protocol};
        break;
      }
    }
  }
  return true;
}

bool PendingConnection::take_proxy_header(bool optional) {
  using filters::listener::ProxyHeaderState;
  if (!peek()) return false;
  filters::listener::ProxyHeader header;
  ProxyHeaderState state = filters::listener::parse_proxy_header(peeked_, header);
  if (state == ProxyHeaderState::kNeedMore && !saw_end_) return false;
  if (state == ProxyHeaderState::kAbsent && optional) return true;
  if (state != ProxyHeaderState::kDone) {
    PN_LOG(kDebug, "listener", "{}: {} closed: {}", config_->name, facts_.source.text(),
           state == ProxyHeaderState::kAbsent ? "it began without a PROXY protocol header"
                                              : "a bad PROXY protocol header");
    close();
    return false;
  }
  // The bytes are there: peek() has seen them.
  for (size_t left = header.size; left > 0;) {
    ssize_t n = ::recv(fd_, listener_.loop().read_scratch(), left, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      close();
      return false;
    }
    left -= static_cast<size_t>(n);
  }
  if (header.has_addresses) {
    facts_.direct_source = facts_.source;
    facts_.source = header.source;
    facts_.destination = header.destination;
    redirected_ = true;
  }
  return true;
}

// Looks at what has come, without taking it. False when nothing has, or the connection is gone.
bool PendingConnection::peek() {
  uint8_t* scratch = listener_.loop().read_scratch();
  for (;;) {
    ssize_t n = ::recv(fd_, scratch, base::EventLoop::kReadSize, MSG_PEEK);
    if (n > 0) {
      peeked_ = {scratch, static_cast<size_t>(n)};
      return true;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
    close();  // gone before it said anything
    return false;
  }
}

void PendingConnection::on_event(uint32_t events) {
  if (ended_) return;
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) saw_end_ = true;
  run();
}

void PendingConnection::on_timeout() {
  if (ended_) return;
  listener_.loop().cells().add(config_->stats.pre_cx_timeout);
  if (config_->continue_on_timeout) {
    finish();
  } else {
    close();
  }
}

int PendingConnection::release_fd() {
  if (watched_) listener_.loop().unwatch(fd_);
  return std::exchange(fd_, -1);
}

void PendingConnection::finish() {
  if (ended_) return;
  ended_ = true;
  timer_.cancel();
  listener_.start_session(*this, release_fd(), facts_, redirected_);
  listener_.pending_ended(*this);
}

void PendingConnection::close() {
  if (ended_) return;
  ended_ = true;
  timer_.cancel();
  listener_.pending_ended(*this);
}

void PendingConnection::abandon() { close(); }

}  // namespace pinnace::listener
