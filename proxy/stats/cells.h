// Cells: one worker's (or the control thread's) counters, written by that thread alone and summed by whoever reads.
// A cell is a relaxed atomic that is never the target of a read-modify-write: an increment is a plain add.
// Cell 0 swallows everything that the stats matcher rejects, so that a rejected stat costs one add and no memory.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace pinnace::stats {

struct Counter {
  uint32_t cell = 0;
};
// A gauge is the sum of what every thread added and subtracted.
struct Gauge {
  uint32_t cell = 0;
};
struct Histogram {
  uint32_t cell = 0;  // the first of kHistogramCells consecutive cells
};

// Envoy's default bucket bounds, milliseconds: prometheus `le` values.
inline constexpr std::array<double, 19> kBucketBounds = {
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000};
inline constexpr uint32_t kHistogramCells = kBucketBounds.size() + 2;  // one per bound, the overflow, and the sum

class Cells {
 public:
  static constexpr uint32_t kChunk = 1024;
  static constexpr uint32_t kMaxChunks = 4096;
  using Cell = std::atomic<uint64_t>;

  void add(Counter c, uint64_t n = 1) { bump(c.cell, n); }
  void inc(Gauge g) { bump(g.cell, 1); }
  void dec(Gauge g) { bump(g.cell, ~uint64_t{0}); }
  void add(Gauge g, int64_t n) { bump(g.cell, static_cast<uint64_t>(n)); }
  void record(Histogram h, uint64_t value_ms) {
    if (h.cell == 0) return;
    uint32_t bucket = 0;
    while (bucket < kBucketBounds.size() && static_cast<double>(value_ms) > kBucketBounds[bucket]) bucket++;
    bump(h.cell + bucket, 1);
    bump(h.cell + kHistogramCells - 1, value_ms);
  }
  uint64_t read(uint32_t cell) const {
    const Cell* chunk = chunks_[cell / kChunk].load(std::memory_order_acquire);
    return chunk ? chunk[cell % kChunk].load(std::memory_order_relaxed) : 0;
  }

 private:
  friend class Store;

  void bump(uint32_t cell, uint64_t n) {
    // The store makes the chunk before anyone learns the cell's number.
    Cell& at = chunks_[cell / kChunk].load(std::memory_order_relaxed)[cell % kChunk];
    at.store(at.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }

  std::array<std::atomic<Cell*>, kMaxChunks> chunks_{};
};

}  // namespace pinnace::stats
