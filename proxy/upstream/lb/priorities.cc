#include "proxy/upstream/lb/priorities.h"

#include <algorithm>

namespace pinnace::upstream::lb {
namespace {

// In a total panic each level has its share of the hosts.
void by_hosts(std::span<const LevelHosts> levels, std::vector<LevelLoad>& out) {
  uint64_t total = 0, left = 100;
  for (const auto& level : levels) total += level.all;
  if (total == 0) return;
  size_t first = levels.size();
  for (size_t i = 0; i < levels.size(); i++) {
    out[i].percent = static_cast<uint32_t>(uint64_t{100} * levels[i].all / total);
    left -= out[i].percent;
    if (levels[i].all > 0) first = std::min(first, i);
  }
  out[first].percent += static_cast<uint32_t>(left);
}

}  // namespace

std::vector<LevelLoad> split_load(std::span<const LevelHosts> levels, uint32_t overprovisioning_percent,
                                  uint32_t panic_percent) {
  std::vector<LevelLoad> out(levels.size());
  if (levels.empty()) return out;
  std::vector<uint32_t> available(levels.size());
  uint64_t sum = 0;
  for (size_t i = 0; i < levels.size(); i++) {
    if (levels[i].all == 0) continue;
    uint64_t share = uint64_t{overprovisioning_percent} * levels[i].healthy / levels[i].all;
    available[i] = static_cast<uint32_t>(std::min<uint64_t>(100, share));
    sum += available[i];
  }
  auto total = static_cast<uint32_t>(std::min<uint64_t>(100, sum));
  if (total > 0) {
    uint32_t left = 100;
    size_t first = levels.size();
    for (size_t i = 0; i < levels.size(); i++) {
      out[i].percent = std::min(left, available[i] * 100 / total);
      left -= out[i].percent;
      if (available[i] > 0) first = std::min(first, i);
    }
    out[first].percent += left;
  } else {
    out[0].percent = 100;
  }
  if (total == 100) return out;  // enough in all: a weak level leans on the others
  bool everywhere = true;
  for (size_t i = 0; i < levels.size(); i++) {
    uint64_t healthy_percent = levels[i].all == 0 ? 0 : uint64_t{100} * levels[i].healthy / levels[i].all;
    out[i].panic = healthy_percent < panic_percent;
    everywhere = everywhere && out[i].panic;
  }
  if (everywhere) by_hosts(levels, out);
  return out;
}

}  // namespace pinnace::upstream::lb
