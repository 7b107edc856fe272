// TimerWheel: hierarchical timing wheel of one worker, millisecond ticks; Timer: one alarm in it.
// Arming, moving and cancelling are O(1) and never allocate. A timer moved to a later time stays where it is and is
// looked at again when its old time comes, so that the idle timers that every request moves cost two stores.
// THREAD: the worker's. LIFETIME: a Timer cancels itself when destroyed and must not outlive its wheel.
#pragma once

#include <array>
#include <cstdint>

#include "proxy/base/intrusive_list.h"

namespace pinnace::base {

class TimerWheel;

class Timer : private ListLink {
 public:
  using Callback = void (*)(void* context);

  Timer() = default;
  ~Timer() { cancel(); }
  // REQUIRES: called once, before arm().
  void init(TimerWheel& wheel, Callback callback, void* context) {
    wheel_ = &wheel;
    callback_ = callback;
    context_ = context;
  }
  // Calls `callback` once, when `delay_ms` have passed; replaces an earlier deadline.
  void arm(uint64_t delay_ms);
  void cancel() {
    unlink();
    deadline_ = 0;
  }
  bool armed() const { return linked(); }

 private:
  friend class TimerWheel;
  friend class IntrusiveList<Timer>;

  TimerWheel* wheel_ = nullptr;
  Callback callback_ = nullptr;
  void* context_ = nullptr;
  uint64_t deadline_ = 0;  // when it must fire, in ticks
  uint64_t slotted_ = 0;   // when the wheel looks at it, never after deadline_
};

class TimerWheel {
 public:
  explicit TimerWheel(uint64_t now_ms) : now_(now_ms), real_now_(now_ms) {}

  uint64_t now() const { return real_now_; }
  // Moves time on to `now_ms` and calls what is due, in order of time.
  void advance(uint64_t now_ms);
  // Milliseconds until the wheel must be looked at again; -1 when no timer is armed.
  int64_t next_delay(uint64_t now_ms) const;

 private:
  friend class Timer;
  static constexpr int kBits = 6;
  static constexpr int kLevels = 7;
  static constexpr int kSlots = 1 << kBits;

  void insert(Timer& timer);
  // The tick of the next slot that holds timers, and its level; false when all are empty.
  bool next_slot(uint64_t& tick, int& level) const;

  uint64_t now_;       // the tick that is being looked at
  uint64_t real_now_;  // what delays count from: after a stall ahead of now_
  mutable std::array<uint64_t, kLevels> occupied_{};
  mutable std::array<std::array<IntrusiveList<Timer>, kSlots>, kLevels> slots_;
};

}  // namespace pinnace::base
