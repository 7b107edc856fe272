#include "proxy/net/connection.h"

#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "proxy/net/socket.h"

namespace pinnace::net {

using base::Address;
using base::EventLoop;

Connection::Connection(EventLoop& loop, int fd, const Address& local, const Address& remote)
    : loop_(loop), chain_(loop.blocks()), state_(State::kHandshake), fd_(fd), local_(local), remote_(remote) {
  timer_.init(
      loop.timers(), [](void* self) { static_cast<Connection*>(self)->on_timer(); }, this);
}

std::unique_ptr<Connection> Connection::connect(EventLoop& loop, const Address& remote, const Source& source,
                                                uint64_t timeout_ms) {
  auto connection = std::make_unique<Connection>(loop, -1, Address(), remote);
  connection->state_ = State::kConnecting;
  int failure = 0;
  connection->fd_ = start_connect(remote, source, failure);
  if (connection->fd_ >= 0) failure = loop.watch(connection->fd_, *connection);
  connection->timer_.arm(failure != 0 ? 0 : timeout_ms);
  if (failure != 0) connection->error_ = failure;  // reported by the timer, never from here
  return connection;
}

Connection::~Connection() {
  if (fd_ >= 0) ::close(fd_);
}

void Connection::start(uint64_t handshake_timeout_ms) {
  handshake_timeout_ms_ = handshake_timeout_ms;
  if (state_ == State::kConnecting) return;
  int failure = loop_.watch(fd_, *this);
  if (failure != 0) {
    error_ = failure;
    timer_.arm(0);
    return;
  }
  begin_transport();
}

// A fresh socket's buffer takes it whole; one that does not is no use.
bool Connection::send_preamble() {
  if (preamble_.empty()) return true;
  ssize_t n = send_bytes(fd_, preamble_.data(), preamble_.size());
  bool whole = n == static_cast<ssize_t>(preamble_.size());
  preamble_ = {};
  if (!whole) fail(CloseReason::kPeerReset, n < 0 ? errno : ENOBUFS);
  return whole;
}

void Connection::begin_transport() {
  if (!send_preamble()) return;
  if (!secure_) {
    become_open();
    return;
  }
  state_ = State::kHandshake;
  if (handshake_timeout_ms_ > 0) {
    timer_.arm(handshake_timeout_ms_);
  } else {
    timer_.cancel();
  }
  auto status = secure_->handshake();
  if (!send_secure_output()) return;
  if (status == SecureTransport::Status::kFailed) return fail(CloseReason::kTlsFailed, 0);
  if (secure_->handshake_done()) become_open();
}

void Connection::become_open() {
  timer_.cancel();
  state_ = State::kOpen;
  reported_open_ = true;
  if (prologue_) {
    auto first = prologue_->begin(tls());
    if (first) {
      write({reinterpret_cast<const uint8_t*>(first->data()), first->size()});
    } else {
      prologue_.reset();
    }
  }
  callbacks_->on_ready();
}

void Connection::deliver(Bytes data) {
  if (prologue_ && !prologue_over_) {
    switch (prologue_->take(data)) {
      case Prologue::Taken::kMore: return;
      case Prologue::Taken::kBroken: return fail(CloseReason::kPeerReset, EPROTO);
      case Prologue::Taken::kOver: prologue_over_ = true;
    }
    if (data.empty()) return;
  }
  callbacks_->on_data(data);
}

void Connection::finish_connect() {
  int failure = socket_error(fd_);
  if (failure != 0) return fail(CloseReason::kConnectFailed, failure);
  local_ = socket_name(fd_);
  timer_.cancel();
  begin_transport();
}

void Connection::on_event(uint32_t events) {
  if (state_ == State::kClosed) return;
  if (state_ == State::kConnecting) {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) return;
    finish_connect();
    if (state_ == State::kClosed) return;
  }
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) hung_up_ = true;
  if (events & EPOLLOUT) {
    socket_full_ = false;
    if (unsent() > 0 || write_shut_) flush();
    if (state_ == State::kClosed) return;
  }
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
    readable_ = true;
    if (reading_) {
      read_more();
    } else if ((events & EPOLLERR) && state_ == State::kOpen) {
      // A reset is heard even by who does not listen; what it sent before is lost with it.
      fail(CloseReason::kPeerReset, socket_error(fd_));
    }
  }
}

void Connection::set_reading(bool on) {
  if (reading_ == on) return;
  reading_ = on;
  if (on && readable_ && !read_task_.linked()) loop_.run_next_turn(read_task_);
}

// Reads until the socket is drained, the reader stops us, or others deserve a turn.
void Connection::read_more() {
  constexpr int kReadsPerTurn = 8;
  // Ciphertext kept from a stop comes before what the socket still holds.
  if (secure_more_ && !deliver_secure({})) return;
  for (int reads = 0; reading_ && readable_ && state_ != State::kClosed; reads++) {
    if (reads == kReadsPerTurn) {
      if (!read_task_.linked()) loop_.run_next_turn(read_task_);
      return;
    }
    ssize_t n = receive(fd_, loop_.read_scratch(), EventLoop::kReadSize);
    if (n > 0) {
      // A short read has drained the socket; a FIN that came with it has set hung_up_ and is read next.
      if (static_cast<size_t>(n) < EventLoop::kReadSize && !hung_up_) readable_ = false;
      bytes_received_ += static_cast<uint64_t>(n);
      if (byte_stats_) loop_.cells().add(byte_stats_->rx_bytes, static_cast<uint64_t>(n));
      if (state_ == State::kLingering) continue;  // late input of a connection that is closing
      Bytes data{loop_.read_scratch(), static_cast<size_t>(n)};
      if (secure_) {
        if (!deliver_secure(data)) return;
      } else {
        deliver(data);
        loop_.flush_writes();
      }
      continue;
    }
    if (n == 0) {
      readable_ = false;
      note_eof();
      return;
    }
    if (errno == EINTR) continue;
    readable_ = false;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return;
    return fail(CloseReason::kPeerReset, errno);
  }
}

void Connection::note_eof() {
  if (eof_) return;
  eof_ = true;
  if (state_ == State::kLingering) return end_lingering();
  if (state_ == State::kHandshake) return fail(CloseReason::kTlsFailed, 0);
  callbacks_->on_eof();
  loop_.flush_writes();
}

// False when the connection is gone or reading was stopped.
bool Connection::deliver_secure(Bytes cipher) {
  bool more = true;
  secure_more_ = false;
  while (more) {
    size_t produced = 0;
    auto status = secure_->receive(cipher, loop_.plain_scratch(), EventLoop::kReadSize, produced, more);
    cipher = {};
    if (!send_secure_output()) return false;
    if (!reported_open_ && secure_->handshake_done()) {
      become_open();
      loop_.flush_writes();
      if (state_ == State::kClosed) return false;
    }
    if (produced > 0 && state_ == State::kOpen) {
      deliver({loop_.plain_scratch(), produced});
      loop_.flush_writes();
    }
    if (state_ == State::kClosed) return false;
    if (status == SecureTransport::Status::kFailed) {
      fail(CloseReason::kTlsFailed, 0);
      return false;
    }
    if (status == SecureTransport::Status::kClosed) {
      note_eof();
      return false;
    }
    if (!reading_) {
      secure_->keep_input();
      secure_more_ = more;
      if (more) readable_ = true;
      return false;
    }
  }
  return true;
}

void Connection::on_timer() {
  switch (state_) {
    case State::kConnecting:
      return error_ != 0 ? fail(CloseReason::kConnectFailed, error_) : fail(CloseReason::kConnectTimeout, ETIMEDOUT);
    case State::kHandshake:
      return error_ != 0 ? fail(CloseReason::kPeerReset, error_) : fail(CloseReason::kHandshakeTimeout, ETIMEDOUT);
    case State::kOpen: return fail(CloseReason::kPeerReset, error_);
    case State::kLingering: return end_lingering();
    case State::kClosed: return;
  }
}

void Connection::fail(CloseReason reason, int error) {
  if (state_ == State::kClosed) return;
  if (state_ == State::kLingering) return end_lingering();
  error_ = error;
  close_reason_ = reason;
  close_socket(false);
  callbacks_->on_close(reason);
}

void Connection::close_socket(bool reset) {
  state_ = State::kClosed;
  timer_.cancel();
  write_task_.unlink();
  held_ = false;
  read_task_.unlink();
  piece_count_ = 0;
  queued_ = 0;
  chain_.clear();
  if (fd_ < 0) return;
  if (reset) reset_on_close(fd_);
  ::close(fd_);  // also takes it out of epoll
  fd_ = -1;
}

namespace {

class Nobody final : public ConnectionCallbacks {
  void on_data(Bytes) override {}
  void on_eof() override {}
  void on_close(CloseReason) override {}
};

}  // namespace

void Connection::close(std::unique_ptr<Connection> connection, bool reset) {
  if (!connection) return;
  if (connection->held_ && !reset) {  // what an earlier dispatch wrote counts as sent
    static Nobody nobody;
    connection->callbacks_ = &nobody;
    connection->flush();
  }
  connection->close_socket(reset);
  auto& loop = connection->loop_;
  loop.destroy_later(std::move(connection));
}

void Connection::close_after_flush(std::unique_ptr<Connection> connection, uint64_t delay_ms) {
  if (!connection) return;
  if (connection->state_ != State::kOpen) return close(std::move(connection));
  connection->flush();
  if (connection->state_ != State::kOpen) return close(std::move(connection));
  Connection& c = *connection;
  c.loop_.linger(std::move(connection));
  c.state_ = State::kLingering;
  c.write_shut_ = true;
  c.reading_ = true;
  c.timer_.arm(delay_ms);
  c.flush();
  if (c.state_ == State::kLingering && c.eof_ && c.fin_sent_) return c.end_lingering();
  if (c.state_ == State::kLingering && c.readable_ && !c.read_task_.linked()) c.loop_.run_next_turn(c.read_task_);
}

void Connection::end_lingering() {
  if (state_ == State::kClosed) return;
  close_socket(false);
  loop_.destroy_lingering(*this);
}

// ENVOY: failure reasons are written with underscores for spaces.
std::string Connection::failure_text() const {
  std::string text = failure_words();
  std::replace(text.begin(), text.end(), ' ', '_');
  return text;
}

std::string Connection::failure_words() const {
  switch (close_reason_) {
    case CloseReason::kNone: return {};
    case CloseReason::kTlsFailed:
      if (secure_ && !secure_->failure_reason().empty()) return secure_->failure_reason();
      return "TLS_error:|the peer closed the connection during the handshake";
    case CloseReason::kConnectTimeout: return {};
    case CloseReason::kHandshakeTimeout: return "TLS_error:|handshake timeout";
    case CloseReason::kConnectFailed: return "delayed connect error: " + std::string(std::strerror(error_));
    case CloseReason::kPeerReset: break;
  }
  return {};
}

}  // namespace pinnace::net
