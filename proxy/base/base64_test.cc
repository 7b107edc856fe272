#include "proxy/base/base64.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace pinnace::base {
namespace {

Bytes bytes(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

// Both in pieces of `piece` bytes.
std::string encode(std::string_view text, size_t piece) {
  Base64Encoder encoder;
  std::string out(Base64Encoder::most(text.size()), '?');
  auto* begin = reinterpret_cast<uint8_t*>(out.data());
  auto* at = begin;
  for (size_t i = 0; i < text.size(); i += piece) at = encoder.add(bytes(text.substr(i, piece)), at);
  at = encoder.pad(at);
  out.resize(static_cast<size_t>(at - begin));
  return out;
}

std::optional<std::string> decode(std::string_view text, size_t piece) {
  Base64Decoder decoder;
  std::string out(text.size() + 1, '?');
  auto* begin = reinterpret_cast<uint8_t*>(out.data());
  auto* at = begin;
  for (size_t i = 0; i < text.size() && at; i += piece) at = decoder.add(bytes(text.substr(i, piece)), at);
  if (!at || decoder.waiting() != 0) return {};
  out.resize(static_cast<size_t>(at - begin));
  return out;
}

TEST(Base64, the_vectors_of_rfc_4648_10_in_pieces_of_any_size) {
  constexpr std::pair<std::string_view, std::string_view> kVectors[] = {{"", ""},
                                                                        {"f", "Zg=="},
                                                                        {"fo", "Zm8="},
                                                                        {"foo", "Zm9v"},
                                                                        {"foob", "Zm9vYg=="},
                                                                        {"fooba", "Zm9vYmE="},
                                                                        {"foobar", "Zm9vYmFy"},
                                                                        {"\xfb\xff\xbf", "+/+/"}};
  for (auto [plain, coded] : kVectors) {
    for (size_t piece = 1; piece <= 9; piece++) {
      EXPECT_EQ(encode(plain, piece), coded);
      EXPECT_EQ(decode(coded, piece), plain) << coded;
    }
  }
}

TEST(Base64, padded_groups_follow_each_other) {
  for (size_t piece = 1; piece <= 12; piece++) EXPECT_EQ(decode("Zg==Zm8=Zm9v", piece), "ffofoo");
}

TEST(Base64, what_is_no_base64_is_refused) {
  for (const char* bad : {"=", "Z===", "====", "Zg=g", "Zg==Z", "Zg", "Zm9", "Z g=", "Zm9v\n", "Zm-_",
                          "Zh==", "Zm9=", "\x80\x80\x80\x80"}) {
    for (size_t piece = 1; piece <= 5; piece++) EXPECT_EQ(decode(bad, piece), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace pinnace::base
