#include "proxy/model/string_matcher.h"

#include <re2/re2.h>

#include <algorithm>

namespace pinnace::model {
namespace {

char fold(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

bool same(std::string_view a, std::string_view b, bool ignore_case) {
  if (!ignore_case) return a == b;
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return fold(x) == fold(y); });
}

}  // namespace

StringMatcher StringMatcher::literal(Kind kind, std::string text, bool ignore_case) {
  StringMatcher matcher;
  matcher.kind_ = kind;
  matcher.text_ = std::move(text);
  matcher.ignore_case_ = ignore_case;
  return matcher;
}

Result<StringMatcher> StringMatcher::regex(const std::string& pattern) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_encoding(re2::RE2::Options::EncodingLatin1);  // bytes: no value fails open for not being UTF-8
  StringMatcher matcher;
  matcher.kind_ = Kind::kRegex;
  matcher.text_ = pattern;
  matcher.regex_ = std::make_shared<const re2::RE2>(pattern, options);
  if (!matcher.regex_->ok()) return error("invalid regex '" + pattern + "': " + matcher.regex_->error());
  return matcher;
}

bool StringMatcher::matches(std::string_view value) const {
  switch (kind_) {
    case Kind::kExact: return value.size() == text_.size() && same(value, text_, ignore_case_);
    case Kind::kPrefix: return value.size() >= text_.size() && same(value.substr(0, text_.size()), text_, ignore_case_);
    case Kind::kSuffix:
      return value.size() >= text_.size() && same(value.substr(value.size() - text_.size()), text_, ignore_case_);
    case Kind::kContains:
      if (!ignore_case_) return value.find(text_) != std::string_view::npos;
      return std::search(value.begin(), value.end(), text_.begin(), text_.end(),
                         [](char x, char y) { return fold(x) == fold(y); }) != value.end();
    case Kind::kRegex: return re2::RE2::FullMatch(re2::StringPiece(value.data(), value.size()), *regex_);
  }
  return false;
}

std::string StringMatcher::describe() const {
  static constexpr const char* kKinds[] = {"exact", "prefix", "suffix", "contains", "regex"};
  return std::string(kKinds[static_cast<size_t>(kind_)]) + " " + text_;
}

}  // namespace pinnace::model
