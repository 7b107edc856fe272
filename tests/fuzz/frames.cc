#include "tests/fuzz/frames.h"

namespace pinnace::fuzz {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr size_t kMostFrame = 16 * 1024;

std::vector<uint8_t> take(Bytes& bytes, size_t n) {
  auto part = copy(bytes.first(std::min(n, bytes.size())));
  bytes = bytes.subspan(part.size());
  return part;
}

size_t frame_length(const uint8_t* head) {
  return static_cast<size_t>(head[0]) << 16 | static_cast<size_t>(head[1]) << 8 | head[2];
}

}  // namespace

std::vector<Frame> split_frames(Bytes bytes) {
  std::vector<Frame> frames;
  while (!bytes.empty()) {
    Frame frame{take(bytes, kFrameHead), {}};
    frame.head.resize(kFrameHead);
    frame.payload = take(bytes, frame_length(frame.head.data()));
    frames.push_back(std::move(frame));
  }
  return frames;
}

Bytes without_preface(Bytes input) {
  std::string_view text{reinterpret_cast<const char*>(input.data()), input.size()};
  return input.subspan(text.starts_with(kPreface) ? kPreface.size() : 0);
}

bool has_goaway(Bytes input) {
  auto frames = split_frames(without_preface(input));
  return std::any_of(frames.begin(), frames.end(), [](const Frame& frame) { return frame.head[3] == 7; });
}

void check_frames(std::string_view output, bool server) {
  if (!server) {
    check(output.empty() || output.starts_with(kPreface), "a client begins with the preface");
    output.remove_prefix(std::min(output.size(), kPreface.size()));
  }
  while (!output.empty()) {
    check(output.size() >= kFrameHead, "a frame has a whole head");
    size_t length = frame_length(reinterpret_cast<const uint8_t*>(output.data()));
    check(length <= kMostFrame && kFrameHead + length <= output.size(), "a frame is whole and not too large");
    output.remove_prefix(kFrameHead + length);
  }
}

}  // namespace pinnace::fuzz
