// Inputs and outputs made of HTTP/2 frames (RFC 9113 4.1). An input is one byte that says how it is taken, the client's
// preface if it is there, frames.
#pragma once

#include "tests/fuzz/input.h"

namespace pinnace::fuzz {

inline constexpr size_t kFrameHead = 9;

struct Frame {
  std::vector<uint8_t> head, payload;
};

Bytes without_preface(Bytes input);
// The last one may be cut short.
std::vector<Frame> split_frames(Bytes bytes);
// Whether a GOAWAY is among the frames. nghttp2 reads no more after one when no stream is open, but goes on with what
// came in the same read.
bool has_goaway(Bytes input);

// What a codec wrote is whole frames, of the size that every peer takes.
void check_frames(std::string_view output, bool server);

}  // namespace pinnace::fuzz
