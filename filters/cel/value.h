// Value: what a CEL expression or a part of it comes to. Errors are values, as in CEL: they spread through operators,
// but not through && and || that are decided without them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pinnace::filters::cel {

struct Value {
  enum class Kind : uint8_t { kError, kNull, kBool, kInt, kUint, kDouble, kString };

  Kind kind = Kind::kError;
  bool boolean = false;
  int64_t integer = 0;  // kInt; of kUint the bits
  double real = 0;
  std::string_view text;

  static Value error() { return {}; }
  static Value null() { return of_kind(Kind::kNull); }
  static Value of(bool value) {
    Value out = of_kind(Kind::kBool);
    out.boolean = value;
    return out;
  }
  static Value of(int64_t value) {
    Value out = of_kind(Kind::kInt);
    out.integer = value;
    return out;
  }
  static Value of(uint64_t value) {
    Value out = of_kind(Kind::kUint);
    out.integer = static_cast<int64_t>(value);
    return out;
  }
  static Value of(double value) {
    Value out = of_kind(Kind::kDouble);
    out.real = value;
    return out;
  }
  static Value of(std::string_view value) {
    Value out = of_kind(Kind::kString);
    out.text = value;
    return out;
  }

  bool failed() const { return kind == Kind::kError; }
  bool is(Kind which) const { return kind == which; }
  bool number() const { return kind == Kind::kInt || kind == Kind::kUint || kind == Kind::kDouble; }
  // As a label: strings as they are, numbers in decimal.
  std::string print() const;

 private:
  static Value of_kind(Kind kind) {
    Value out;
    out.kind = kind;
    return out;
  }
};

}  // namespace pinnace::filters::cel
