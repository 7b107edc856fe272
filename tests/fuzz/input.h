// Input: how a target reads what the fuzzer gives it, and how it says that an invariant is broken. Nothing here depends
// on time or addresses: the same bytes do the same, in every build.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "proxy/base/block_pool.h"
#include "proxy/base/rng.h"

namespace pinnace::fuzz {

using base::Bytes;

// libFuzzer keeps the input of a process that aborts.
inline void check(bool holds, const char* invariant) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", invariant);
  std::abort();
}

// In memory of its own, so that a byte read beyond the end is seen.
inline std::vector<uint8_t> copy(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

inline uint64_t hash(Bytes bytes) {
  uint64_t h = 0xcbf29ce484222325;  // FNV-1a
  for (uint8_t b : bytes) h = (h ^ b) * 0x100000001b3;
  return h;
}

// The beginnings to try of an input of that size: each one at first, then fewer, and all of it.
inline std::vector<size_t> beginnings(size_t size) {
  std::vector<size_t> all;
  for (size_t n = 0; n < size; n += 1 + (n < 128 ? 0 : n / 32)) all.push_back(n);
  all.push_back(size);
  return all;
}

enum class Split : uint8_t { kWhole, kSmall, kRandom };
inline constexpr Split kSplits[] = {Split::kWhole, Split::kSmall, Split::kRandom};

// The input in pieces, as reads from a socket might give it.
class Pieces {
 public:
  Pieces(Bytes bytes, Split split) : rest_(bytes), split_(split), rng_(hash(bytes)) {}
  bool empty() const { return rest_.empty(); }
  std::vector<uint8_t> next() {
    size_t n = std::min(size(), rest_.size());
    auto piece = copy(rest_.first(n));
    rest_ = rest_.subspan(n);
    return piece;
  }

 private:
  static constexpr size_t kRead = 64 * 1024;   // of EventLoop
  static constexpr size_t kByteByByte = 1024;  // longer inputs go faster
  size_t size() {
    switch (split_) {
      case Split::kWhole: return kRead;
      case Split::kSmall: return rest_.size() > kByteByByte ? 61 : 1;
      case Split::kRandom: return 1 + rng_.below(rng_.below(4) == 0 ? 2048 : 24);
    }
    return kRead;
  }

  Bytes rest_;
  Split split_;
  base::Rng rng_;
};

}  // namespace pinnace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
