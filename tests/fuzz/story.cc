#include "tests/fuzz/story.h"

namespace pinnace::fuzz {
namespace {

void print(const char* title, const std::vector<Story>& stories) {
  std::fprintf(stderr, "---- %s\n", title);
  for (const Story& story : stories) {
    std::fprintf(stderr, "head: %s\nbody: %s\nend: %s\n\n", story.head.c_str(), story.body.c_str(), story.end.c_str());
  }
}

bool alike(const Story& a, const Story& b) {
  if (a.head != b.head || a.end != b.end) return false;
  size_t size = std::min(a.body.size(), b.body.size());
  return a.body == b.body || (a.end.starts_with("reset") && a.body.substr(0, size) == b.body.substr(0, size));
}

}  // namespace

void compare(const std::vector<Story>& a, const std::vector<Story>& b) {
  if (std::equal(a.begin(), a.end(), b.begin(), b.end(), alike)) return;
  print("one", a);
  print("the other", b);
  check(false, "what is heard does not depend on the split");
}

}  // namespace pinnace::fuzz
