#include "xds_client/dns.h"

#include <ares.h>
#include <netdb.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>

namespace pinnace::xds {
namespace {

using Family = compile::DnsSettings::Family;

struct Query {
  Family family;
  std::function<void(DnsAnswer)> done;
};

void finish(void* argument, int status, int, ares_addrinfo* result) {
  std::unique_ptr<Query> query(static_cast<Query*>(argument));
  DnsAnswer answer;
  // c-ares tells the second of two questions only: that there is nothing of its type says nothing of the first.
  bool one_question = query->family == Family::kV4Only || query->family == Family::kV6Only;
  answer.ok = status == ARES_SUCCESS || status == ARES_ENOTFOUND || (one_question && status == ARES_ENODATA);
  if (status != ARES_SUCCESS) answer.failure = ares_strerror(status);
  uint64_t ttl = UINT32_MAX;
  for (auto* node = result ? result->nodes : nullptr; node; node = node->ai_next) {
    sockaddr_storage storage{};
    std::memcpy(&storage, node->ai_addr, std::min<size_t>(node->ai_addrlen, sizeof storage));
    answer.addresses.push_back(base::Address::from_sockaddr(storage, node->ai_addrlen).with_port(0));
    ttl = std::min<uint64_t>(ttl, static_cast<uint64_t>(std::max(0, node->ai_ttl)));
  }
  answer.ttl_s = answer.addresses.empty() ? 0 : ttl;
  if (result) ares_freeaddrinfo(result);
  // AUTO takes IPv6 where there is any, V4_PREFERRED IPv4; ALL keeps both.
  auto keep_only = [&](base::Address::Kind kind) {
    bool any =
        std::any_of(answer.addresses.begin(), answer.addresses.end(), [&](const auto& a) { return a.kind() == kind; });
    if (any) std::erase_if(answer.addresses, [&](const auto& a) { return a.kind() != kind; });
  };
  if (query->family == Family::kAuto) keep_only(base::Address::Kind::kIpv6);
  if (query->family == Family::kV4Preferred) keep_only(base::Address::Kind::kIpv4);
  if (status != ARES_EDESTRUCTION) query->done(std::move(answer));
}

}  // namespace

class DnsResolver::Channel {
 public:
  Channel(boost::asio::io_context& control, const compile::DnsServers& servers) : control_(control), timer_(control) {
    ares_library_init(ARES_LIB_INIT_ALL);
    ares_options options{};
    options.sock_state_cb = [](void* self, ares_socket_t fd, int readable, int writable) {
      static_cast<Channel*>(self)->watch(fd, readable != 0, writable != 0);
    };
    options.sock_state_cb_data = this;
    options.timeout = static_cast<int>(servers.timeout_ms);
    options.tries = static_cast<int>(servers.tries);
    options.flags = (servers.tcp ? ARES_FLAG_USEVC : 0) | (servers.no_search_domain ? ARES_FLAG_NOSEARCH : 0);
    constexpr int kOptions = ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_FLAGS;
    ok_ = ares_init_options(&channel_, &options, kOptions) == ARES_SUCCESS;
    if (ok_ && !servers.addresses.empty()) {
      ok_ = ares_set_servers_ports_csv(channel_, servers.addresses.c_str()) == ARES_SUCCESS;
    }
  }
  ~Channel() {
    closing_ = true;
    if (ok_) ares_destroy(channel_);
    for (auto& [fd, socket] : sockets_) socket->descriptor.release();
  }

  void resolve(const std::string& name, Query query) {
    if (!ok_) return query.done({false, "c-ares cannot start", {}, 0});
    ares_addrinfo_hints hints{};
    hints.ai_family = query.family == Family::kV4Only   ? AF_INET
                      : query.family == Family::kV6Only ? AF_INET6
                                                        : AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = ARES_AI_NOSORT;
    ares_getaddrinfo(channel_, name.c_str(), nullptr, &hints, finish, new Query(std::move(query)));
    tick();
  }

 private:
  struct Socket {
    Socket(boost::asio::io_context& control, int fd) : descriptor(control, fd) {}
    boost::asio::posix::stream_descriptor descriptor;
    bool read = false, write = false;
    bool reading = false, writing = false;
  };

  void watch(ares_socket_t fd, bool readable, bool writable) {
    if (closing_) return;
    auto& socket = sockets_[fd];
    if (!readable && !writable) {
      if (socket) socket->descriptor.release();  // c-ares closes it
      sockets_.erase(fd);
      return;
    }
    if (!socket) socket = std::make_shared<Socket>(control_, fd);
    socket->read = readable;
    socket->write = writable;
    arm(fd, socket);
  }
  void arm(int fd, const std::shared_ptr<Socket>& socket) {
    using Wait = boost::asio::posix::stream_descriptor::wait_type;
    auto start = [&](bool Socket::*wanted, bool Socket::*active, Wait type, bool read) {
      if (!((*socket).*wanted) || (*socket).*active) return;
      (*socket).*active = true;
      socket->descriptor.async_wait(
          static_cast<boost::asio::posix::stream_descriptor::wait_type>(type),
          [this, fd, weak = std::weak_ptr<Socket>(socket), active, read](boost::system::error_code failed) {
            auto alive = weak.lock();
            if (!alive || failed) return;
            (*alive).*active = false;
            ares_process_fd(channel_, read ? fd : ARES_SOCKET_BAD, read ? ARES_SOCKET_BAD : fd);
            if (sockets_.contains(fd)) arm(fd, sockets_[fd]);
          });
    };
    start(&Socket::read, &Socket::reading, Wait::wait_read, true);
    start(&Socket::write, &Socket::writing, Wait::wait_write, false);
  }
  // c-ares notices its time-outs when it is called.
  void tick() {
    if (ticking_) return;
    ticking_ = true;
    timer_.expires_after(std::chrono::milliseconds(500));
    timer_.async_wait([this](boost::system::error_code failed) {
      if (failed) return;
      ticking_ = false;
      ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
      if (!sockets_.empty()) tick();
    });
  }

  boost::asio::io_context& control_;
  boost::asio::steady_timer timer_;
  ares_channel channel_{};
  bool ok_ = false, closing_ = false, ticking_ = false;
  std::map<int, std::shared_ptr<Socket>> sockets_;
};

DnsResolver::DnsResolver(boost::asio::io_context& control) : control_(control) {}
DnsResolver::~DnsResolver() = default;

void DnsResolver::resolve(const std::string& name, const compile::DnsSettings& settings,
                          std::function<void(DnsAnswer)> done) {
  if (auto literal = base::Address::ip(name, 0)) return done({true, {}, {*literal}, 0});
  auto& channel = channels_[settings.servers];
  if (!channel) channel = std::make_unique<Channel>(control_, settings.servers);
  channel->resolve(name, {settings.family, std::move(done)});
}

}  // namespace pinnace::xds
