#include "proxy/base/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>

namespace pinnace::base {
namespace {

uint64_t read_clock(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000ull + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

class EventLoop::Waker : public EventHandler {
 public:
  Waker() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  ~Waker() override { close(fd_); }
  void on_event(uint32_t) override {
    uint64_t count;
    [[maybe_unused]] ssize_t n = read(fd_, &count, sizeof count);
    woken_ = true;
  }
  void wake() const {
    uint64_t one = 1;
    [[maybe_unused]] ssize_t n = write(fd_, &one, sizeof one);
  }
  bool take() { return std::exchange(woken_, false); }
  int fd() const { return fd_; }

 private:
  int fd_;
  bool woken_ = false;
};

EventLoop::EventLoop(stats::Cells& cells, uint64_t seed)
    : epoll_(epoll_create1(EPOLL_CLOEXEC)),
      waker_(std::make_unique<Waker>()),
      mono_ns_(read_clock(CLOCK_MONOTONIC)),
      wall_ns_(read_clock(CLOCK_REALTIME)),
      scratch_(new uint8_t[3 * kReadSize + kRecordSize + kTurnSize]),
      outbox_(new uint8_t[kOutboxSize]),
      rng_(seed),
      cells_(cells),
      wheel_(mono_ns_ / 1000000) {
  if (epoll_ < 0 || waker_->fd() < 0) throw std::runtime_error("no descriptors left for an event loop (ulimit -n)");
  watch_level(waker_->fd(), *waker_);
}

EventLoop::~EventLoop() {
  while (Deferred* object = lingering_.pop_front()) graveyard_.push_back(*object);
  bury();
  close(epoll_);
}

// Objects may bury others while they are destroyed.
void EventLoop::bury() {
  while (!graveyard_.empty()) {
    while (Deferred* object = graveyard_.pop_front()) delete object;
    flush_writes();
  }
}

void EventLoop::update_time() {
  mono_ns_ = read_clock(CLOCK_MONOTONIC);
  wall_ns_ = read_clock(CLOCK_REALTIME);
}

int EventLoop::watch(int fd, EventHandler& handler) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &handler;
  return epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

int EventLoop::watch_level(int fd, EventHandler& handler) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &handler;
  return epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

void EventLoop::unwatch(int fd) { epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr); }

void EventLoop::flush_writes() {
  while (TurnTask* task = writes_.pop_front()) task->run_turn_task();
  turn_used_ = 0;
}

void EventLoop::post(std::function<void()> work) {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
    wake = !std::exchange(wake_pending_, true);
  }
  if (wake) waker_->wake();
}

void EventLoop::run_posted() {
  std::vector<std::function<void()>> work;
  {
    std::lock_guard lock(mutex_);
    work.swap(posted_);
    wake_pending_ = false;
  }
  for (auto& one : work) {
    one();
    flush_writes();
  }
}

void EventLoop::run_turn_end() {
  while (TurnTask* task = turn_end_.pop_front()) {
    task->run_turn_task();
    flush_writes();
  }
}

void EventLoop::run_sends() {
  while (TurnTask* task = sends_.pop_front()) {
    task->run_turn_task();
    flush_writes();
  }
  outbox_used_ = 0;
}

void EventLoop::stop() {
  stopped_.store(true, std::memory_order_release);
  waker_->wake();
}

void EventLoop::run() {
  constexpr int kBatch = 64;
  epoll_event events[kBatch];
  while (!stopped_.load(std::memory_order_acquire)) {
    int64_t delay = next_turn_.empty() ? wheel_.next_delay(now_ms()) : 0;
    int timeout = delay < 0 ? -1 : static_cast<int>(delay > 60000 ? 60000 : delay);
    int count = epoll_wait(epoll_, events, kBatch, timeout);
    update_time();
    for (int i = 0; i < count; i++) {
      more_events_ = i + 1 < count;
      static_cast<EventHandler*>(events[i].data.ptr)->on_event(events[i].events);
      flush_writes();
    }
    run_turn_end();
    run_sends();
    wheel_.advance(now_ms());
    flush_writes();
    IntrusiveList<TurnTask> again;
    again.splice(next_turn_);
    while (TurnTask* task = again.pop_front()) {
      task->run_turn_task();
      flush_writes();
    }
    if (waker_->take()) run_posted();
    run_turn_end();
    bury();
    run_turn_end();  // the buried may have had a last word
  }
}

}  // namespace pinnace::base
