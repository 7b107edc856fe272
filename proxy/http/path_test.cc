// Path normalisation against what Envoy 1.40 does with the same path and options (measured).
#include "proxy/http/path.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pinnace::http {
namespace {

constexpr const char* kRejected = "(rejected)";

std::string normalized(std::string_view path, const PathOptions& options, PathAction* action = nullptr) {
  base::BlockPool pool;
  base::Arena arena(pool);
  PathAction did = normalize_path(path, options, arena);
  if (action) *action = did;
  return did == PathAction::kReject ? kRejected : std::string(path);
}

struct Case {
  const char* path;
  const char* expected;
};

void expect_paths(const PathOptions& options, const std::vector<Case>& cases) {
  for (const Case& c : cases) EXPECT_EQ(normalized(c.path, options), c.expected) << c.path;
}

PathOptions normalize(bool merge = false, EscapedSlashes escaped = EscapedSlashes::kKeep) {
  PathOptions options;
  options.normalize = true;
  options.merge_slashes = merge;
  options.escaped_slashes = escaped;
  return options;
}

TEST(NormalizePathTest, changes_nothing_unless_told_to) {
  for (const char* path : {"/a/../b", "/a//b", "/a%2Fb", "/a\\b", "/%zz", "/%61", "*", "", "/"}) {
    EXPECT_EQ(normalized(path, PathOptions()), path);
  }
}

TEST(NormalizePathTest, removes_dot_segments) {
  expect_paths(normalize(), {{"/a/./b", "/a/b"},
                             {"/a/../b", "/b"},
                             {"/a/..", "/"},
                             {"/a/.", "/a/"},
                             {"/..", "/"},
                             {"/.", "/"},
                             {"/", "/"},
                             {"/a/", "/a/"},
                             {"/a/b/../../../c", "/c"},
                             {"/../../ok/./x/../y//z", "/ok/y//z"},
                             {"/a/...", "/a/..."},
                             {"/a/.b", "/a/.b"},
                             {"/a/..b", "/a/..b"},
                             {"/a/b..", "/a/b.."},
                             {"/a/b/..?x", "/a/?x"}});
}

TEST(NormalizePathTest, sees_escaped_dots) {
  expect_paths(normalize(), {{"/a/%2e%2e/b", "/b"},
                             {"/a/%2E/b", "/a/b"},
                             {"/a/.%2e/b", "/b"},
                             {"/a/%2E.", "/"},
                             {"/a/%2e%2e?x=%2F", "/?x=%2F"}});
}

TEST(NormalizePathTest, unescapes_unreserved_characters_as_envoy_does) {
  expect_paths(normalize(), {{"/%61dmin", "/admin"},
                             {"/a%41", "/aA"},
                             {"/a%7Eb", "/a~b"},
                             {"/a%2db", "/a-b"},
                             {"/a%5Fb", "/a_b"},
                             {"/a%30", "/a0"},
                             {"/a%2e", "/a."},
                             {"/%2e%2e%2fb", "/..%2fb"},
                             {"/a%25%32%65", "/a%252e"}});
}

TEST(NormalizePathTest, keeps_other_escapes_as_they_are) {
  expect_paths(normalize(), {{"/a%2Fb", "/a%2Fb"},
                             {"/a%5cb", "/a%5cb"},
                             {"/a%20b", "/a%20b"},
                             {"/a%0ab", "/a%0ab"},
                             {"/a%3bb", "/a%3bb"},
                             {"/a%3Fb", "/a%3Fb"},
                             {"/a%23b", "/a%23b"},
                             {"/%C3%A9", "/%C3%A9"},
                             {"/%ff", "/%ff"},
                             {"/a%2f../b", "/a%2f../b"},
                             {"/a%2f%2fb/", "/a%2f%2fb/"}});
}

TEST(NormalizePathTest, keeps_broken_escapes_as_envoy_does) {
  expect_paths(normalize(), {{"/%zz", "/%zz"}, {"/%2", "/%2"}, {"/a%", "/a%"}, {"/a%2", "/a%2"}});
}

TEST(NormalizePathTest, refuses_an_escaped_nul) {
  expect_paths(normalize(), {{"/%00", kRejected}, {"/a/b%00c", kRejected}, {"/%00/../b", kRejected}});
  EXPECT_EQ(normalized("/a?%00", normalize()), "/a?%00");
}

TEST(NormalizePathTest, refuses_a_fragment) {
  expect_paths(PathOptions(), {{"/a#b", kRejected}});
  expect_paths(normalize(), {{"/a#b", kRejected}, {"/a?b#c", kRejected}, {"/public/#/../admin", kRejected}});
}

TEST(NormalizePathTest, takes_a_fragment_off_when_told_to) {
  PathOptions options = normalize();
  options.strip_fragment = true;
  expect_paths(
      options,
      {{"/a#b", "/a"}, {"/a?b#c", "/a?b"}, {"/public/#/../admin", "/public/"}, {"/a#", "/a"}, {"/a/..#/x", "/"}});
}

TEST(NormalizePathTest, takes_a_backslash_for_a_slash) {
  expect_paths(normalize(),
               {{"/a\\b", "/a/b"}, {"/a\\..\\b", "/b"}, {"/\\a", "//a"}, {"/a\\", "/a/"}, {"/a?b\\c", "/a?b\\c"}});
}

TEST(NormalizePathTest, treats_parameters_of_dot_segments_as_envoy_does) {
  expect_paths(normalize(), {{"/a;x/..;/b", "/b"}, {"/a;x/b", "/a;x/b"}});
}

TEST(NormalizePathTest, escapes_what_does_not_belong_into_a_path) {
  expect_paths(normalize(), {{"/a\"<>^`{|}b", "/a%22%3C%3E%5E%60%7B%7C%7Db"}, {"/a[]b", "/a[]b"}, {"/a'b", "/a'b"}});
  EXPECT_EQ(normalized("/a?\"<>^`{|}", normalize()), "/a?\"<>^`{|}");
}

TEST(NormalizePathTest, keeps_repeated_slashes_unless_told_to_merge) {
  expect_paths(normalize(), {{"/a//b", "/a//b"}, {"//a", "//a"}, {"/a//../b", "/a/b"}, {"/a/b/../../..//c", "//c"}});
  expect_paths(normalize(true), {{"/a//b", "/a/b"},
                                 {"//a", "/a"},
                                 {"///a////b//", "/a/b/"},
                                 {"/a//../b", "/a/b"},
                                 {"/a/b/../../..//c", "/c"},
                                 {"/a?b//c", "/a?b//c"}});
  PathOptions only_merge;
  only_merge.merge_slashes = true;
  expect_paths(
      only_merge,
      {{"/a//b", "/a/b"}, {"//a", "/a"}, {"/a//../b", "/a/../b"}, {"/%61//b", "/%61/b"}, {"/a\\\\b", "/a\\\\b"}});
}

TEST(NormalizePathTest, rejects_escaped_slashes_when_told_to) {
  expect_paths(normalize(false, EscapedSlashes::kReject), {{"/a%2Fb", kRejected},
                                                           {"/a%2fb", kRejected},
                                                           {"/a%5Cb", kRejected},
                                                           {"/a%5cb", kRejected},
                                                           {"/a/b?x=%2F", "/a/b?x=%2F"},
                                                           {"/a/b", "/a/b"},
                                                           {"/a%252Fb", "/a%252Fb"}});
}

TEST(NormalizePathTest, unescapes_slashes_before_dot_segments_go) {
  for (auto how : {EscapedSlashes::kUnescapeAndRedirect, EscapedSlashes::kUnescapeAndForward}) {
    expect_paths(normalize(true, how), {{"/a%2Fb", "/a/b"},
                                        {"/a%2f..%2fb", "/b"},
                                        {"/a%5c..%5cb", "/b"},
                                        {"/%2e%2e%2fb", "/b"},
                                        {"/a%2f%2fb", "/a/b"},
                                        {"/a%2Fb?x=%2F", "/a/b?x=%2F"}});
  }
}

TEST(NormalizePathTest, redirects_only_a_path_that_had_escaped_slashes) {
  PathAction action;
  auto options = normalize(false, EscapedSlashes::kUnescapeAndRedirect);
  normalized("/a%2Fb", options, &action);
  EXPECT_EQ(action, PathAction::kRedirect);
  for (const char* path : {"/a/../b", "/a?%2F", "/a%20b"}) {
    normalized(path, options, &action);
    EXPECT_EQ(action, PathAction::kForward) << path;
  }
  normalized("/a%2Fb", normalize(false, EscapedSlashes::kUnescapeAndForward), &action);
  EXPECT_EQ(action, PathAction::kForward);
}

TEST(NormalizePathTest, once_is_enough) {
  const char alphabet[] = {'/', '.', '%', '2', 'e', 'f', '\\', 'a', ';', '5', 'c'};
  uint64_t state = 1;
  for (int round = 0; round < 200000; round++) {
    std::string path = "/";
    for (int i = 0; i < 10; i++) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      path += alphabet[(state >> 33) % sizeof alphabet];
    }
    for (bool merge : {false, true}) {
      std::string first = normalized(path, normalize(merge));
      if (first == kRejected) continue;
      ASSERT_EQ(first[0], '/') << path;
      // A second dot segment can only come to light behind an escaped percent sign, which nothing unescapes.
      ASSERT_EQ(first.find("/../"), std::string::npos) << path;
      ASSERT_EQ(first.find("/./"), std::string::npos) << path;
      ASSERT_EQ(normalized(first, normalize(merge)), first) << path;
    }
  }
}

}  // namespace
}  // namespace pinnace::http
