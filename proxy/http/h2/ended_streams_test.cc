// Frames on streams that their client ended, whole and cut at every byte.
#include "proxy/http/h2/ended_streams.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace pinnace::http::h2 {
namespace {

constexpr uint8_t kData = 0, kHeaders = 1, kReset = 3, kPing = 6, kContinuation = 9;
constexpr uint8_t kEndStream = 1, kEndHeaders = 4;
const std::string kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

std::string frame(uint8_t type, uint8_t flags, uint32_t id, size_t size) {
  std::string text;
  for (int shift : {16, 8, 0}) text.push_back(static_cast<char>(size >> shift));
  text.push_back(static_cast<char>(type));
  text.push_back(static_cast<char>(flags));
  for (int shift : {24, 16, 8, 0}) text.push_back(static_cast<char>(id >> shift));
  return text + std::string(size, '\1');
}

// Fed in pieces of `piece` bytes: how many were admitted.
size_t admitted(const std::string& text, size_t piece) {
  EndedStreams ended;
  for (size_t at = 0; at < text.size(); at += piece) {
    size_t size = std::min(piece, text.size() - at);
    size_t n = ended.admit({reinterpret_cast<const uint8_t*>(text.data()) + at, size});
    if (n < size) return at + n;
  }
  return text.size();
}

void expect_all(const std::string& text) {
  for (size_t piece = 1; piece <= text.size(); piece++) EXPECT_EQ(admitted(text, piece), text.size()) << piece;
}
// `last`: the frame that may not be. Of a head that is split over reads the first part is let by.
void expect_refused(const std::string& text, const std::string& last) {
  size_t right = text.size();
  EXPECT_EQ(admitted(text + last, right + last.size()), right);
  for (size_t piece = 1; piece <= right; piece++) {
    size_t n = admitted(text + last, piece);
    EXPECT_GE(n, right) << piece;
    EXPECT_LT(n, right + 9) << piece;
  }
}

TEST(EndedStreams, WholeRequestsAndCancellationsPass) {
  expect_all(kPreface + frame(kHeaders, kEndHeaders | kEndStream, 1, 20) + frame(kHeaders, kEndHeaders, 3, 300) +
             frame(kData, 0, 3, 700) + frame(kReset, 0, 1, 4) + frame(kData, kEndStream, 3, 0) + frame(kPing, 0, 0, 8));
}

TEST(EndedStreams, TrailersAndContinuationsPass) {
  expect_all(kPreface + frame(kHeaders, 0, 1, 5) + frame(kContinuation, kEndHeaders, 1, 5) + frame(kData, 0, 1, 5) +
             frame(kHeaders, kEndStream, 1, 5) + frame(kContinuation, kEndHeaders, 1, 5));
}

TEST(EndedStreams, AMessageAfterItsEndIsRefused) {
  std::string request = kPreface + frame(kHeaders, kEndHeaders | kEndStream, 1, 20);
  expect_refused(request, frame(kData, 0, 1, 5));
  expect_refused(request, frame(kHeaders, kEndHeaders, 1, 5));
  expect_refused(request + frame(kHeaders, kEndHeaders, 3, 5) + frame(kData, kEndStream, 3, 0), frame(kData, 0, 3, 1));
}

TEST(EndedStreams, AMessageAfterItsResetIsRefused) {
  std::string request = kPreface + frame(kHeaders, kEndHeaders, 5, 20) + frame(kReset, 0, 5, 4);
  expect_refused(request, frame(kData, 0, 5, 5));
  expect_refused(request, frame(kHeaders, kEndHeaders, 5, 5));
  expect_all(request + frame(kReset, 0, 5, 4));
}

TEST(EndedStreams, OnlyTheLastAreRemembered) {
  std::string requests = kPreface;
  for (uint32_t i = 0; i <= EndedStreams::kRemembered; i++) requests += frame(kHeaders, kEndStream, 2 * i + 1, 1);
  expect_all(requests + frame(kData, 0, 1, 1));  // nghttp2 skips it
  expect_refused(requests, frame(kData, 0, 3, 1));
}

TEST(EndedStreams, AFrameThatIsTooLargeIsRefusedForItsSize) {
  std::string text = kPreface + frame(kHeaders, kEndStream, 1, 1) + frame(kData, 0, 1, 16385);
  EXPECT_EQ(admitted(text, text.size()), text.size());
}

TEST(EndedStreams, StreamZeroIsNotAmongThem) {
  expect_all(kPreface + frame(kHeaders, kEndStream, 1, 1) + frame(kData, 0, 0, 1));
}

}  // namespace
}  // namespace pinnace::http::h2
