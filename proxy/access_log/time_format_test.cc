#include "proxy/access_log/time_format.h"

#include <gtest/gtest.h>

namespace pinnace::access_log {
namespace {

constexpr uint64_t kThen = 1700000000012345678;  // 2023-11-14T22:13:20.012345678Z

std::string rendered(std::string_view text) {
  auto format = TimeFormat::compile(text);
  return format ? format->render(kThen) : "error: " + format.error().message;
}

TEST(TimeFormatTest, writes_the_calendar_in_utc) {
  EXPECT_EQ(rendered("%Y-%m-%dT%H:%M:%S%z"), "2023-11-14T22:13:20+0000");
  EXPECT_EQ(rendered("[%F %T] 100%%"), "[2023-11-14 22:13:20] 100%");
  EXPECT_EQ(rendered(""), "");
}

TEST(TimeFormatTest, writes_parts_of_the_second) {
  EXPECT_EQ(rendered("%S.%3fZ"), "20.012Z");
  EXPECT_EQ(rendered("%1f %2f %6f %9f %f"), "0 01 012345 012345678 012345678");
}

TEST(TimeFormatTest, writes_the_time_since_the_epoch) { EXPECT_EQ(rendered("%s %3s"), "1700000000 1700000000"); }

TEST(TimeFormatTest, refuses_what_it_does_not_know) {
  for (const char* text : {"%", "a%", "%E", "%Q", "%3", "%3d", "%0f"}) {
    EXPECT_TRUE(rendered(text).starts_with("error: time specifier %")) << text;
  }
}

}  // namespace
}  // namespace pinnace::access_log
