// The choice of a content coding.
#include "filters/http/compressor/encoding.h"

#include <gtest/gtest.h>

#include <string>

namespace pinnace::filters::compressor {
namespace {

constexpr std::string_view kAll[] = {"br", "zstd", "gzip"};

std::string chosen(std::string_view field, std::span<const std::string_view> offered = kAll) {
  Choice choice = choose(field, offered);
  switch (choice.why) {
    case Choice::Why::kNotValid: return "not valid";
    case Choice::Why::kIdentity: return "identity";
    case Choice::Why::kWildcard: return "* " + std::string(choice.coding);
    case Choice::Why::kNamed: return std::string(choice.coding);
  }
  return {};
}

TEST(Encoding, the_highest_quality_wins_and_the_first_of_equals) {
  EXPECT_EQ(chosen("gzip"), "gzip");
  EXPECT_EQ(chosen("gzip, br"), "gzip");
  EXPECT_EQ(chosen("br,gzip"), "br");
  EXPECT_EQ(chosen("gzip;q=0.5, br;q=0.6"), "br");
  EXPECT_EQ(chosen("gzip ; q=0.3 "), "gzip");
  EXPECT_EQ(chosen("deflate, gzip;q=0.1"), "gzip");
}

TEST(Encoding, identity_is_always_there) {
  EXPECT_EQ(chosen("identity"), "identity");
  EXPECT_EQ(chosen("identity, gzip"), "identity");
  EXPECT_EQ(chosen("identity;q=0.5, gzip;q=0.2"), "identity");
  EXPECT_EQ(chosen("identity;q=0.1, gzip"), "gzip");
}

TEST(Encoding, a_wildcard_is_the_first_that_is_offered) {
  EXPECT_EQ(chosen("*"), "* br");
  EXPECT_EQ(chosen("*;q=0.5, gzip;q=0.1"), "* br");
  EXPECT_EQ(chosen("gzip;q=0, *"), "* br");
  EXPECT_EQ(chosen("*", {}), "not valid");
}

TEST(Encoding, what_means_nothing_chooses_nothing) {
  for (const char* field : {"", ",", ";", "GZIP", "deflate", "x;q=1", "gzip;q=0", "gzip;q=abc", "gzip;q=", "gzip;q=-1",
                            "gzip;q=nan", "*;q=0", "gzip;q=0.0"}) {
    EXPECT_EQ(chosen(field), "not valid") << field;
  }
  EXPECT_EQ(chosen("gzip;q=1.5"), "gzip");
  EXPECT_EQ(chosen("gzip;foo=bar"), "gzip");
  EXPECT_EQ(chosen("gzip;"), "gzip");
}

}  // namespace
}  // namespace pinnace::filters::compressor
