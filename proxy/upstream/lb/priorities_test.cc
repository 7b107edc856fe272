#include "proxy/upstream/lb/priorities.h"

#include <gtest/gtest.h>

namespace pinnace::upstream::lb {
namespace {

struct Case {
  std::vector<LevelHosts> levels;
  std::vector<uint32_t> percents;
  std::vector<bool> panics;
  uint32_t overprovisioning = 140, threshold = 50;
};

// The first rows are those of Envoy's documentation of priority levels; what rounding leaves goes to the first level.
TEST(Priorities, split_as_envoy_splits) {
  const Case cases[] = {
      {{{100, 100}, {100, 100}}, {100, 0}, {false, false}},
      {{{100, 72}, {100, 100}}, {100, 0}, {false, false}},
      {{{100, 71}, {100, 100}}, {99, 1}, {false, false}},
      {{{100, 50}, {100, 100}}, {70, 30}, {false, false}},
      {{{100, 25}, {100, 100}}, {35, 65}, {false, false}},
      {{{100, 0}, {100, 100}}, {0, 100}, {false, false}},
      {{{100, 25}, {100, 25}}, {50, 50}, {true, true}},
      {{{100, 5}, {100, 65}}, {8, 92}, {true, false}},
      {{{10, 0}, {30, 0}}, {25, 75}, {true, true}},
      {{{3, 1}}, {100}, {true}},
      {{{3, 3}}, {100}, {false}},
      {{{4, 0}, {4, 0}}, {100, 0}, {false, false}, 140, 0},
      {{{0, 0}, {4, 4}}, {0, 100}, {false, false}},
      {{{10, 5}, {10, 10}}, {50, 50}, {false, false}, 100},
      {{}, {}, {}},
  };
  for (const Case& c : cases) {
    auto got = split_load(c.levels, c.overprovisioning, c.threshold);
    std::vector<uint32_t> percents;
    std::vector<bool> panics;
    for (const auto& level : got) {
      percents.push_back(level.percent);
      panics.push_back(level.panic);
    }
    EXPECT_EQ(percents, c.percents);
    EXPECT_EQ(panics, c.panics);
  }
}

}  // namespace
}  // namespace pinnace::upstream::lb
