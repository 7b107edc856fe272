// libFuzzer's hook for the targets whose input is frames: bytes changed at random seldom leave frames behind; these
// changes do.
#include <cstring>

#include "tests/fuzz/frames.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace pinnace::fuzz {
namespace {

// Small frames that often matter, on stream 0 or 1; where they land is the mutation's.
Frame fresh_frame(base::Rng& rng) {
  static const Frame kFrames[] = {
      {{0, 0, 0, 0, 1, 0, 0, 0, 1}, {}},                                // DATA, the end
      {{0, 0, 0, 0, 0, 0, 0, 0, 1}, {'d', 'a', 't', 'a'}},              // DATA
      {{0, 0, 0, 1, 5, 0, 0, 0, 1}, {0x82, 0x86, 0x84, 0x41, 1, 'a'}},  // HEADERS: GET http / a
      {{0, 0, 0, 1, 4, 0, 0, 0, 1}, {0x83, 0x86, 0x84, 0x41, 1, 'a'}},  // HEADERS: POST, without the end
      {{0, 0, 0, 1, 4, 0, 0, 0, 1}, {0x88}},                            // HEADERS: 200
      {{0, 0, 0, 1, 5, 0, 0, 0, 1}, {0x40, 1, 'x', 1, 'y'}},            // HEADERS: trailers
      {{0, 0, 0, 9, 4, 0, 0, 0, 1}, {0x40, 1, 'x', 1, 'y'}},            // CONTINUATION
      {{0, 0, 0, 2, 0, 0, 0, 0, 1}, {0, 0, 0, 3, 7}},                   // PRIORITY
      {{0, 0, 0, 3, 0, 0, 0, 0, 1}, {0, 0, 0, 8}},                      // RST_STREAM
      {{0, 0, 0, 4, 0, 0, 0, 0, 0}, {0, 4, 0, 0, 0, 1}},                // SETTINGS: windows of 1
      {{0, 0, 0, 4, 1, 0, 0, 0, 0}, {}},                                // SETTINGS: ACK
      {{0, 0, 0, 6, 0, 0, 0, 0, 0}, {1, 2, 3, 4, 5, 6, 7, 8}},          // PING
      {{0, 0, 0, 7, 0, 0, 0, 0, 0}, {0, 0, 0, 1, 0, 0, 0, 0}},          // GOAWAY
      {{0, 0, 0, 8, 0, 0, 0, 0, 0}, {0, 0, 1, 0}},                      // WINDOW_UPDATE
  };
  return kFrames[rng.below(std::size(kFrames))];
}

void change_payload(std::vector<uint8_t>& payload, base::Rng& rng) {
  size_t size = payload.size(), room = size + 1 + rng.below(32);
  payload.resize(room);
  payload.resize(LLVMFuzzerMutate(payload.data(), size, room));
}

void change(std::vector<Frame>& frames, base::Rng& rng) {
  size_t at = frames.empty() ? 0 : rng.below(frames.size());
  size_t kind = frames.empty() ? 0 : rng.below(8);
  auto place = frames.begin() + static_cast<std::ptrdiff_t>(at);
  switch (kind) {
    case 0: {
      Frame frame = fresh_frame(rng);
      if (frame.head[8] != 0) frame.head[8] = static_cast<uint8_t>(1 + 2 * rng.below(4));
      frames.insert(place, std::move(frame));
      break;
    }
    case 1: frames.insert(place, Frame(frames[rng.below(frames.size())])); break;
    case 2: frames.erase(place); break;
    case 3: std::swap(*place, frames[rng.below(frames.size())]); break;
    case 4: place->head[3] = static_cast<uint8_t>(rng.below(11)); break;
    case 5: place->head[4] ^= static_cast<uint8_t>(1u << rng.below(8)); break;
    case 6: place->head[8] = static_cast<uint8_t>(rng.below(10)); break;
    default: change_payload(place->payload, rng);
  }
}

size_t mutate_frames(uint8_t* data, size_t size, size_t most, unsigned seed) {
  base::Rng rng(seed);
  if (size < 1 + kFrameHead || rng.below(8) == 0) return LLVMFuzzerMutate(data, size, most);
  if (rng.below(16) == 0) {
    data[0] = static_cast<uint8_t>(rng.below(256));
    return size;
  }
  Bytes rest = without_preface({data + 1, size - 1});
  std::vector<uint8_t> out(data, data + size - rest.size());
  auto frames = split_frames(rest);
  for (uint64_t n = 1 + rng.below(3); n > 0; n--) change(frames, rng);
  for (Frame& frame : frames) {
    size_t length = frame.payload.size();
    frame.head[0] = static_cast<uint8_t>(length >> 16);
    frame.head[1] = static_cast<uint8_t>(length >> 8);
    frame.head[2] = static_cast<uint8_t>(length);
    out.insert(out.end(), frame.head.begin(), frame.head.end());
    out.insert(out.end(), frame.payload.begin(), frame.payload.end());
  }
  out.resize(std::min(out.size(), most));
  std::memcpy(data, out.data(), out.size());
  return out.size();
}

}  // namespace
}  // namespace pinnace::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  return pinnace::fuzz::mutate_frames(data, size, most, seed);
}
