#include "proxy/base/utf8.h"

#include <gtest/gtest.h>

namespace pinnace::base {
namespace {

TEST(Utf8, TextsAreToldFromOtherBytes) {
  for (const char* good : {"", "plain", "caf\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(good)) << good;
    EXPECT_EQ(to_utf8(good), good);
  }
  // Alone, cut short, overlong, a surrogate, beyond the last code point.
  for (const char* bad :
       {"\xff", "\x80", "\xc3", "\xe2\x82", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
    EXPECT_FALSE(is_utf8(bad)) << bad;
    EXPECT_TRUE(is_utf8(to_utf8(bad)));
  }
}

TEST(Utf8, WhatIsNoTextIsReplacedByteByByte) {
  EXPECT_EQ(to_utf8("a\xff"
                    "b\xc3\xa9\xc3"),
            "a!b\xc3\xa9!");
  EXPECT_EQ(to_utf8("\xe2\x82"), "!!");
}

}  // namespace
}  // namespace pinnace::base
