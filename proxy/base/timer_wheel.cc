#include "proxy/base/timer_wheel.h"

#include <bit>

namespace pinnace::base {

void Timer::arm(uint64_t delay_ms) {
  constexpr uint64_t kForever = uint64_t{1} << 40;
  if (delay_ms == 0) delay_ms = 1;
  if (delay_ms > kForever) delay_ms = kForever;
  deadline_ = wheel_->real_now_ + delay_ms;
  if (linked() && slotted_ <= deadline_) return;
  unlink();
  wheel_->insert(*this);
}

// A timer sits at the level of the highest base-64 digit in which its time differs from now, in the slot of that digit.
void TimerWheel::insert(Timer& timer) {
  uint64_t when = timer.deadline_ > now_ ? timer.deadline_ : now_ + 1;
  int level = (63 - std::countl_zero(when ^ now_)) / kBits;
  if (level >= kLevels) level = kLevels - 1;
  auto slot = static_cast<int>((when >> (kBits * level)) & (kSlots - 1));
  timer.slotted_ = when;
  slots_[level][slot].push_back(timer);
  occupied_[level] |= uint64_t{1} << slot;
}

bool TimerWheel::next_slot(uint64_t& tick, int& level) const {
  for (level = 0; level < kLevels; level++) {
    int digit = static_cast<int>((now_ >> (kBits * level)) & (kSlots - 1));
    uint64_t ahead = digit == kSlots - 1 ? 0 : occupied_[level] >> (digit + 1) << (digit + 1);
    // A slot whose timers were all cancelled is no reason to wake.
    while (ahead != 0 && slots_[level][static_cast<unsigned>(std::countr_zero(ahead))].empty()) {
      occupied_[level] &= ~(ahead & -ahead);
      ahead &= ahead - 1;
    }
    if (ahead == 0) continue;
    int shift = kBits * (level + 1);
    tick = ((now_ >> shift) << shift) | (uint64_t(std::countr_zero(ahead)) << (kBits * level));
    return true;
  }
  return false;
}

void TimerWheel::advance(uint64_t now_ms) {
  uint64_t tick;
  int level;
  if (now_ms > real_now_) real_now_ = now_ms;
  while (next_slot(tick, level) && tick <= now_ms) {
    now_ = tick;
    auto slot = static_cast<int>((tick >> (kBits * level)) & (kSlots - 1));
    occupied_[level] &= ~(uint64_t{1} << slot);
    IntrusiveList<Timer> due;
    due.splice(slots_[level][slot]);
    while (Timer* timer = due.pop_front()) {
      if (timer->deadline_ > now_) {
        insert(*timer);
      } else {
        timer->callback_(timer->context_);
      }
    }
  }
  if (now_ms > now_) now_ = now_ms;
}

int64_t TimerWheel::next_delay(uint64_t now_ms) const {
  uint64_t tick;
  int level;
  if (!next_slot(tick, level)) return -1;
  return tick > now_ms ? static_cast<int64_t>(tick - now_ms) : 0;
}

}  // namespace pinnace::base
