// Edf: earliest-deadline-first schedule: an entry of weight w comes up w times as often as one of weight 1, evenly
// spread. O(log n) a pick, no allocation once filled.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "proxy/base/rng.h"

namespace pinnace::upstream::lb {

class Edf {
 public:
  void add(uint32_t index, double weight, base::Rng& rng) {
    // A random phase, so that workers do not all start with the same host.
    double phase = static_cast<double>(rng.below(1u << 20)) / (1u << 20);
    heap_.push_back({phase / weight, order_++, index});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  // The next entry; it comes again after 1/weight, where `weight(index)` is asked now.
  template <class Weight>
  uint32_t next(Weight weight) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    Entry& entry = heap_.back();
    now_ = entry.deadline;
    uint32_t index = entry.index;
    entry.deadline = now_ + 1.0 / weight(index);
    entry.order = order_++;
    std::push_heap(heap_.begin(), heap_.end(), later);
    return index;
  }

 private:
  struct Entry {
    double deadline;
    uint64_t order;
    uint32_t index;
  };
  static bool later(const Entry& a, const Entry& b) {
    return a.deadline > b.deadline || (a.deadline == b.deadline && a.order > b.order);
  }

  std::vector<Entry> heap_;
  double now_ = 0;
  uint64_t order_ = 0;
};

}  // namespace pinnace::upstream::lb
