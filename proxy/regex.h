// Regex: a PCRE2 pattern for stats tags (istiod's use look-ahead and POSIX classes, which RE2 lacks), and Envoy's
// default tags. Not for requests. THREAD: immutable, any.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/base/result.h"

namespace pinnace {

class Regex {
 public:
  static Result<std::shared_ptr<const Regex>> compile(const std::string& pattern);
  ~Regex();
  // Finds the pattern: the first group is what a tag takes out of the name, the second (or first) its value.
  bool search(std::string_view text, std::string_view& first, std::string_view& second) const;

 private:
  Regex() = default;
  void* code_ = nullptr;
};

// tag name, pattern; Envoy's well-known names for the stats pinnace has.
const std::vector<std::pair<std::string, std::string>>& default_stats_tags();

}  // namespace pinnace
