// How the load is split over the priorities of a cluster, as Envoy splits it: a level takes its healthy share times the
// overprovisioning factor, the next ones what is left; with too few healthy hosts in all, levels panic and use the
// others too. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pinnace::upstream::lb {

struct LevelHosts {
  uint32_t all = 0, healthy = 0;
};

struct LevelLoad {
  uint32_t percent = 0;
  bool panic = false;  // all hosts take part, the unhealthy ones too
};

// The percents add up to 100 when there is any level. `panic_percent`: healthy_panic_threshold; 0: never.
std::vector<LevelLoad> split_load(std::span<const LevelHosts> levels, uint32_t overprovisioning_percent,
                                  uint32_t panic_percent);

}  // namespace pinnace::upstream::lb
