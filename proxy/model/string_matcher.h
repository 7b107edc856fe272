// StringMatcher: envoy.type.matcher.v3.StringMatcher compiled once. Matching is pure and works on bytes: a value that
// is not UTF-8 is compared as it is, never skipped.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/result.h"

namespace re2 {
class RE2;
}

namespace pinnace::model {

class StringMatcher {
 public:
  enum class Kind : uint8_t { kExact, kPrefix, kSuffix, kContains, kRegex };

  static StringMatcher literal(Kind kind, std::string text, bool ignore_case);
  // ERRORS: the regex does not compile. The whole value must match, as in Envoy.
  static Result<StringMatcher> regex(const std::string& pattern);

  bool matches(std::string_view value) const;
  Kind kind() const { return kind_; }
  const std::string& text() const { return text_; }
  std::string describe() const;

  friend bool operator==(const StringMatcher& a, const StringMatcher& b) {
    return a.kind_ == b.kind_ && a.ignore_case_ == b.ignore_case_ && a.text_ == b.text_;
  }

 private:
  Kind kind_ = Kind::kExact;
  bool ignore_case_ = false;
  std::string text_;
  std::shared_ptr<const re2::RE2> regex_;
};

}  // namespace pinnace::model
