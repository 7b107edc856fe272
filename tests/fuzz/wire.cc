#include "tests/fuzz/wire.h"

#include <sys/socket.h>
#include <unistd.h>

#include "proxy/stats/store.h"

namespace pinnace::fuzz {
namespace {

stats::Cells& shared_cells() {
  static stats::Store store;
  static stats::Cells& cells = store.add_thread();
  return cells;
}

}  // namespace

Wire::Wire() : loop_(shared_cells(), 1) {
  int ends[2];
  check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0, "there is a socket pair");
  far_end_ = ends[1];
  int small = 4096;
  setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  connection_ = std::make_unique<net::Connection>(loop_, ends[0], base::Address(), base::Address());
  connection_->set_buffer_limit(kBufferLimit);
  connection_->set_callbacks(*this);
  connection_->start(0);
}

Wire::~Wire() { ::close(far_end_); }

bool Wire::close() {
  drain();
  if (connection_->unsent() > 0) return false;
  net::Connection::close(std::move(connection_));
  return true;
}

void Wire::run(size_t most, std::function<bool()> turn) {
  turn_ = std::move(turn);
  turns_left_ = most;
  loop_.run_next_turn(*this);
  loop_.run();
  check(!connection_ && loop_.blocks().in_use() == 0, "every block of the pool is given back");
}

void Wire::run_turn_task() {
  if (over_) return loop_.stop();
  check(turns_left_-- > 0, "a connection comes to its end");
  over_ = !turn_();  // what ended in this turn is buried with it
  loop_.run_next_turn(*this);
}

bool Wire::drain() {
  size_t before = output_.size();
  if (connection_->bytes_sent() == before) return false;
  char buffer[16 * 1024];
  for (ssize_t n; (n = ::recv(far_end_, buffer, sizeof buffer, 0)) > 0;) output_.append(buffer, static_cast<size_t>(n));
  return output_.size() > before;
}

}  // namespace pinnace::fuzz
