#include "proxy/base/log_pattern.h"

#include <gtest/gtest.h>

namespace pinnace::base {
namespace {

std::string put(std::string_view pattern, std::string_view text = "it broke") {
  std::string out;
  put_log_pattern(out, pattern, {{1700000000, 12345678}, "warning", "xds", text, 7});
  return out;
}

TEST(LogPattern, has_the_flags_that_istio_configures) {
  EXPECT_EQ(put("%Y-%m-%dT%T.%fZ\t%l\tenvoy %n %g:%#\t%v\tthread=%t"),
            "2023-11-14T22:13:20.012345Z\twarning\tenvoy xds pinnace:0\tit broke\tthread=7");
  EXPECT_EQ(put("%F %H:%M:%S.%e%z 100%% %q %"), "2023-11-14 22:13:20.012+00:00 100% %q %");
}

TEST(LogPattern, writes_text_as_it_stands_in_a_json_string) {
  EXPECT_EQ(put("%j", "a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
  EXPECT_EQ(put("%j", "\xc3\xa9"), "\xc3\xa9");
  EXPECT_EQ(put("%j", "\xff"), "\\u00ff");
}

}  // namespace
}  // namespace pinnace::base
