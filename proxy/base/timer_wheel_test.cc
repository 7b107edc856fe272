// The wheel under a simulated clock: nothing here waits.
#include "proxy/base/timer_wheel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "proxy/base/rng.h"

namespace pinnace::base {
namespace {

// A timer that notes when it fires.
struct Alarm {
  Alarm(TimerWheel& wheel, std::vector<uint64_t>& fired) : wheel(wheel), fired(fired) {
    timer.init(
        wheel, [](void* self) { static_cast<Alarm*>(self)->fire(); }, this);
  }
  void fire() {
    fired.push_back(wheel.now());
    count++;
    if (then) then();
  }

  TimerWheel& wheel;
  std::vector<uint64_t>& fired;
  std::function<void()> then;
  int count = 0;
  Timer timer;
};

using Times = std::vector<uint64_t>;

TEST(TimerWheelTest, fires_once_when_its_time_has_come_and_not_before) {
  for (uint64_t start : {uint64_t{0}, uint64_t{1}, uint64_t{63}, uint64_t{4095}, uint64_t{123456789}}) {
    for (uint64_t delay : {1, 2, 62, 63, 64, 65, 127, 128, 4095, 4096, 4097, 262143, 262144, 300000}) {
      TimerWheel wheel(start);
      Times fired;
      Alarm alarm(wheel, fired);
      alarm.timer.arm(delay);
      EXPECT_TRUE(alarm.timer.armed());
      wheel.advance(start + delay - 1);
      ASSERT_TRUE(fired.empty()) << start << "+" << delay;
      wheel.advance(start + delay);
      ASSERT_EQ(fired, Times{start + delay});
      EXPECT_FALSE(alarm.timer.armed());
      wheel.advance(start + 3 * delay);
      EXPECT_EQ(fired.size(), 1u);
    }
  }
}

TEST(TimerWheelTest, fires_in_order_of_time_however_far_it_jumps) {
  TimerWheel wheel(1000);
  Times fired;
  std::vector<std::unique_ptr<Alarm>> alarms;
  std::vector<uint64_t> deadlines;
  Rng rng(1);
  for (int i = 0; i < 500; i++) {
    uint64_t delay = 1 + rng.below(i % 2 ? 100 : 10'000'000);
    alarms.push_back(std::make_unique<Alarm>(wheel, fired));
    alarms.back()->timer.arm(delay);
    alarms.back()->then = [&, delay] { deadlines.push_back(delay); };
  }
  wheel.advance(100'000'000);
  EXPECT_EQ(deadlines.size(), 500u);
  EXPECT_TRUE(std::is_sorted(deadlines.begin(), deadlines.end()));
  EXPECT_EQ(wheel.now(), 100'000'000u);
}

TEST(TimerWheelTest, a_delay_of_nothing_fires_at_the_next_advance_and_never_at_once) {
  TimerWheel wheel(10);
  Times fired;
  Alarm alarm(wheel, fired);
  alarm.timer.arm(0);
  EXPECT_TRUE(fired.empty());
  wheel.advance(11);
  EXPECT_EQ(fired.size(), 1u);
}

TEST(TimerWheelTest, a_moved_timer_fires_at_its_new_time_only) {
  for (uint64_t later : {101, 150, 5000, 1000000}) {
    TimerWheel wheel(0);
    Times fired;
    Alarm alarm(wheel, fired);
    alarm.timer.arm(100);
    wheel.advance(50);
    alarm.timer.arm(later);
    wheel.advance(50 + later - 1);
    EXPECT_TRUE(fired.empty()) << later;
    EXPECT_TRUE(alarm.timer.armed());
    wheel.advance(50 + later);
    EXPECT_EQ(fired, Times{50 + later});
  }
}

TEST(TimerWheelTest, a_timer_moved_by_every_request_fires_after_the_last) {
  TimerWheel wheel(7);
  Times fired;
  Alarm alarm(wheel, fired);
  for (uint64_t now = 7; now < 100000; now += 13) {
    wheel.advance(now);
    alarm.timer.arm(500);
  }
  EXPECT_TRUE(fired.empty());
  uint64_t last = wheel.now();
  wheel.advance(last + 499);
  EXPECT_TRUE(fired.empty());
  wheel.advance(last + 500);
  EXPECT_EQ(fired, Times{last + 500});
}

TEST(TimerWheelTest, a_timer_moved_to_an_earlier_time_fires_then) {
  TimerWheel wheel(0);
  Times fired;
  Alarm alarm(wheel, fired);
  alarm.timer.arm(100000);
  alarm.timer.arm(3);
  wheel.advance(3);
  EXPECT_EQ(fired, Times{3});
  alarm.timer.arm(10);
  alarm.timer.arm(1000);  // stays in the earlier slot
  alarm.timer.arm(20);
  wheel.advance(22);
  EXPECT_EQ(fired.size(), 1u);
  wheel.advance(23);
  EXPECT_EQ(fired, (Times{3, 23}));
}

TEST(TimerWheelTest, a_cancelled_or_destroyed_timer_does_not_fire) {
  TimerWheel wheel(0);
  Times fired;
  Alarm kept(wheel, fired);
  kept.timer.arm(5);
  kept.timer.cancel();
  EXPECT_FALSE(kept.timer.armed());
  kept.timer.cancel();
  {
    Alarm gone(wheel, fired);
    gone.timer.arm(5);
  }
  wheel.advance(100);
  EXPECT_TRUE(fired.empty());
  kept.timer.arm(1);
  wheel.advance(101);
  EXPECT_EQ(fired, Times{101});
}

TEST(TimerWheelTest, a_callback_may_cancel_what_is_due_at_the_same_time) {
  TimerWheel wheel(0);
  Times fired;
  Alarm first(wheel, fired), second(wheel, fired);
  auto third = std::make_unique<Alarm>(wheel, fired);
  first.timer.arm(5);
  second.timer.arm(5);
  third->timer.arm(5);
  first.then = [&] {
    second.timer.cancel();
    third.reset();
  };
  wheel.advance(5);
  EXPECT_EQ(first.count, 1);
  EXPECT_EQ(second.count, 0);
  EXPECT_EQ(fired.size(), 1u);
}

TEST(TimerWheelTest, a_callback_may_destroy_its_own_timer) {
  TimerWheel wheel(0);
  Times fired;
  auto alarm = std::make_unique<Alarm>(wheel, fired);
  alarm->then = [&] { alarm->fired.push_back(0); };
  struct Owner {
    Timer* timer;
  } owner{new Timer};
  owner.timer->init(
      wheel, [](void* self) { delete static_cast<Owner*>(self)->timer; }, &owner);
  owner.timer->arm(5);
  alarm->timer.arm(5);
  wheel.advance(10);
  EXPECT_EQ(alarm->count, 1);
}

TEST(TimerWheelTest, a_callback_may_arm_its_timer_again) {
  TimerWheel wheel(0);
  Times fired;
  Alarm alarm(wheel, fired);
  alarm.then = [&] {
    if (alarm.count < 5) alarm.timer.arm(10);
  };
  alarm.timer.arm(10);
  for (uint64_t now = 1; now <= 100; now++) wheel.advance(now);
  EXPECT_EQ(fired, (Times{10, 20, 30, 40, 50}));
}

TEST(TimerWheelTest, a_callback_may_arm_another_timer_for_a_time_that_is_already_due) {
  TimerWheel wheel(0);
  Times fired;
  Alarm first(wheel, fired), second(wheel, fired);
  first.timer.arm(5);
  second.timer.arm(50);
  first.then = [&] { second.timer.arm(1); };
  for (uint64_t now = 1; now <= 100; now++) wheel.advance(now);
  EXPECT_EQ(fired, (Times{5, 6}));
}

TEST(TimerWheelTest, a_timer_armed_in_a_callback_waits_its_whole_time_even_when_the_worker_was_late) {
  // The worker stalled from 0 to 1000. What is armed at 1000 for 300 ms more must not be due at once.
  TimerWheel wheel(0);
  Times fired;
  Alarm first(wheel, fired), connect_timeout(wheel, fired);
  first.timer.arm(10);
  first.then = [&] { connect_timeout.timer.arm(300); };
  wheel.advance(1000);
  EXPECT_EQ(first.count, 1);
  EXPECT_EQ(connect_timeout.count, 0) << "no time has passed since it was armed";
  wheel.advance(1300);
  EXPECT_EQ(connect_timeout.count, 1);
}

TEST(TimerWheelTest, knows_how_long_it_may_be_left_alone) {
  TimerWheel wheel(100);
  Times fired;
  EXPECT_EQ(wheel.next_delay(100), -1);
  Alarm near(wheel, fired), far(wheel, fired);
  far.timer.arm(1000000);
  int64_t delay = wheel.next_delay(100);
  EXPECT_GT(delay, 0);
  EXPECT_LE(delay, 1000000);
  near.timer.arm(7);
  EXPECT_EQ(wheel.next_delay(100), 7);
  EXPECT_EQ(wheel.next_delay(105), 2);
  EXPECT_EQ(wheel.next_delay(500), 0) << "late already";
}

TEST(TimerWheelTest, need_not_be_looked_at_when_nothing_is_armed) {
  TimerWheel wheel(100);
  Times fired;
  Alarm alarm(wheel, fired);
  alarm.timer.arm(7);
  wheel.advance(107);
  EXPECT_EQ(wheel.next_delay(107), -1);
  alarm.timer.arm(50);
  alarm.timer.cancel();
  EXPECT_EQ(wheel.next_delay(107), -1) << "cancelled";
}

TEST(TimerWheelTest, sleeping_for_next_delay_meets_every_deadline_exactly) {
  for (uint64_t delay : {1ull, 64ull, 100ull, 5000ull, 86400000ull, 31536000000ull}) {
    TimerWheel wheel(999);
    Times fired;
    Alarm alarm(wheel, fired);
    alarm.timer.arm(delay);
    uint64_t now = 999;
    int wakes = 0;
    while (fired.empty() && ++wakes < 1000) {
      int64_t wait = wheel.next_delay(now);
      ASSERT_GE(wait, 0);
      now += static_cast<uint64_t>(wait);
      wheel.advance(now);
    }
    EXPECT_EQ(fired, Times{999 + delay});
    EXPECT_LE(wakes, 8) << "a wake for each level at most";
  }
}

TEST(TimerWheelTest, takes_deadlines_beyond_any_uptime) {
  TimerWheel wheel(5);
  Times fired;
  Alarm alarm(wheel, fired);
  alarm.timer.arm(~uint64_t{0});
  EXPECT_TRUE(alarm.timer.armed());
  wheel.advance(uint64_t{10} * 365 * 86400 * 1000);
  EXPECT_TRUE(fired.empty());
}

TEST(TimerWheelTest, agrees_with_a_sorted_list_on_random_work) {
  Rng rng(42);
  TimerWheel wheel(rng.below(1u << 20));
  Times ignored;
  constexpr size_t kCount = 50;
  std::vector<std::unique_ptr<Alarm>> alarms;
  std::vector<uint64_t> deadline(kCount, 0);  // 0: not armed
  std::vector<size_t> seen;
  for (size_t i = 0; i < kCount; i++) {
    alarms.push_back(std::make_unique<Alarm>(wheel, ignored));
    alarms[i]->then = [&, i] { seen.push_back(i); };
  }
  for (int round = 0; round < 20000; round++) {
    size_t i = rng.below(kCount);
    uint64_t delay = 1 + rng.below(uint64_t{1} << rng.below(18));
    switch (rng.below(4)) {
      case 0: alarms[i]->timer.cancel(), deadline[i] = 0; break;
      case 1: {
        uint64_t to = wheel.now() + delay;
        seen.clear();
        wheel.advance(to);
        std::vector<size_t> expected;
        for (size_t k = 0; k < kCount; k++) {
          if (deadline[k] != 0 && deadline[k] <= to) expected.push_back(k);
        }
        auto in_order = [&](size_t a, size_t b) { return deadline[a] < deadline[b]; };
        ASSERT_TRUE(std::is_sorted(seen.begin(), seen.end(), in_order)) << round;
        for (size_t k : expected) deadline[k] = 0;
        std::sort(seen.begin(), seen.end());
        ASSERT_EQ(seen, expected) << round;
        break;
      }
      default: alarms[i]->timer.arm(delay), deadline[i] = wheel.now() + delay;
    }
    ASSERT_EQ(alarms[i]->timer.armed(), deadline[i] != 0) << round;
  }
}

}  // namespace
}  // namespace pinnace::base
