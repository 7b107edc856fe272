// EventLoop: one worker's thread: epoll, timers, posted work, and the scratch memory that only lives for one turn.
// A thin loop of our own rather than Asio's reactor: Asio re-arms every wait with a system call or wants a buffer per
// waiting connection (ARCHITECTURE.md, "Why not Asio on the workers"); the control thread runs on Asio.
// THREAD: everything but post() and stop() belongs to the thread that runs it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "proxy/base/block_pool.h"
#include "proxy/base/intrusive_list.h"
#include "proxy/base/rng.h"
#include "proxy/base/timer_wheel.h"
#include "proxy/stats/cells.h"

namespace pinnace::base {

// What epoll reports. LIFETIME: objects with a watched descriptor are destroyed by EventLoop::destroy_later().
class EventHandler {
 public:
  virtual ~EventHandler() = default;
  virtual void on_event(uint32_t epoll_events) = 0;
};

// Work for the end of this turn, such as one gathered write. Runs once per schedule, newest last.
class TurnTask : public ListLink {
 public:
  virtual void run_turn_task() = 0;

 protected:
  ~TurnTask() = default;
};

// An object that must stay in memory until the current turn ends.
class Deferred : public ListLink {
 public:
  virtual ~Deferred() = default;
};

class EventLoop {
 public:
  EventLoop(stats::Cells& cells, uint64_t seed);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  void run();
  // THREAD: any. Returns at once; run() ends after its turn.
  void stop();
  // THREAD: any. Runs `work` on the loop's thread, in the order posted.
  void post(std::function<void()> work);

  // Edge-triggered for input, output and half-close, once for the descriptor's life. ERRORS: errno.
  int watch(int fd, EventHandler& handler);
  // Level-triggered input only (listening sockets, wake-ups).
  int watch_level(int fd, EventHandler& handler);
  void unwatch(int fd);

  // Runs at the end of this dispatch (see flush_writes) respectively at the start of the next turn.
  void write_later(TurnTask& task) { writes_.push_back(task); }
  void run_next_turn(TurnTask& task) { next_turn_.push_back(task); }
  // Runs when every event of this turn has been handled, once: for output that gains from being gathered from many.
  void at_turn_end(TurnTask& task) { turn_end_.push_back(task); }
  // Runs after those. Output that is held back until then wakes each peer once, with all that is for it: the peer's
  // next batch is larger, and so are ours. Without more events in this turn there is nothing to wait for.
  void send_at_turn_end(TurnTask& task) { sends_.push_back(task); }
  bool more_events() const { return more_events_; }
  // Memory for what is held back; valid until then. nullptr when it is full.
  uint8_t* outbox(size_t size) {
    if (outbox_used_ + size > kOutboxSize) return nullptr;
    uint8_t* at = outbox_.get() + outbox_used_;
    outbox_used_ += size;
    return at;
  }
  static constexpr size_t kOutboxSize = 128 * 1024;
  // Sends what was written during the current dispatch. Called before the scratch is used again.
  void flush_writes();
  void destroy_later(std::unique_ptr<Deferred> object) { graveyard_.push_back(*object.release()); }
  // Owns an object that ends itself by destroy_lingering(), such as a connection that still drains its output.
  void linger(std::unique_ptr<Deferred> object) { lingering_.push_back(*object.release()); }
  void destroy_lingering(Deferred& object) {
    object.unlink();
    graveyard_.push_back(object);
  }

  TimerWheel& timers() { return wheel_; }
  BlockPool& blocks() { return blocks_; }
  Rng& rng() { return rng_; }
  stats::Cells& cells() { return cells_; }

  // Time as read at the start of this turn.
  uint64_t now_ms() const { return mono_ns_ / 1000000; }
  uint64_t now_ns() const { return mono_ns_; }
  // Wall clock, nanoseconds since the epoch.
  uint64_t wall_ns() const { return wall_ns_; }
  // Reads the clocks again: for measuring within a turn.
  void update_time();

  // Input lands here before anyone looks at it; valid during one dispatch.
  static constexpr size_t kReadSize = 64 * 1024;
  uint8_t* read_scratch() { return scratch_.get(); }
  uint8_t* plain_scratch() { return scratch_.get() + kReadSize; }
  uint8_t* cipher_scratch() { return scratch_.get() + 2 * kReadSize; }
  // Small pieces are gathered here into one TLS record.
  static constexpr size_t kRecordSize = 16 * 1024;
  uint8_t* record_scratch() { return scratch_.get() + 3 * kReadSize; }
  // Memory for small things written in this dispatch (heads, chunk frames). nullptr when it is full.
  uint8_t* turn_memory(size_t size) {
    if (turn_used_ + size > kTurnSize) return nullptr;
    uint8_t* at = scratch_.get() + 3 * kReadSize + kRecordSize + turn_used_;
    turn_used_ += size;
    return at;
  }
  static constexpr size_t kTurnSize = 128 * 1024;

 private:
  class Waker;

  void run_posted();
  void run_turn_end();
  void run_sends();
  void bury();

  int epoll_ = -1;
  std::unique_ptr<Waker> waker_;
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;  // guarded by mutex_
  bool wake_pending_ = false;                  // guarded by mutex_
  uint64_t mono_ns_ = 0, wall_ns_ = 0;
  std::unique_ptr<uint8_t[]> scratch_;
  size_t turn_used_ = 0;
  std::unique_ptr<uint8_t[]> outbox_;
  size_t outbox_used_ = 0;
  bool more_events_ = false;
  BlockPool blocks_;
  Rng rng_;
  IntrusiveList<TurnTask> writes_, next_turn_, turn_end_, sends_;
  IntrusiveList<Deferred> graveyard_, lingering_;
  stats::Cells& cells_;
  TimerWheel wheel_;
};

}  // namespace pinnace::base
