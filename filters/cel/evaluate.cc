// How an Expression comes to a value.
#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <compare>
#include <limits>

#include "filters/cel/expression.h"

namespace pinnace::filters::cel {
namespace {

using Op = Node::Op;
using Kind = Value::Kind;

struct Evaluation {
  const Facts& facts;
  Expression::Scratch& scratch;

  Value keep(std::string text) const { return Value::of(std::string_view(scratch.emplace_back(std::move(text)))); }

  Value of(const Node& node) const;
  Value logic(const Node& node) const;
  Value call(const Node& node) const;
};

double real(const Value& value) {
  if (value.is(Kind::kDouble)) return value.real;
  if (value.is(Kind::kUint)) return static_cast<double>(static_cast<uint64_t>(value.integer));
  return static_cast<double>(value.integer);
}

std::partial_ordering order(const Value& a, const Value& b) {
  using Order = std::partial_ordering;
  if (a.number() && b.number()) {
    bool whole = !a.is(Kind::kDouble) && !b.is(Kind::kDouble);
    bool small = a.integer >= 0 && b.integer >= 0;
    return whole && (a.kind == b.kind || small) ? Order(a.integer <=> b.integer) : real(a) <=> real(b);
  }
  if (a.kind != b.kind) return Order::unordered;
  if (a.is(Kind::kString)) return a.text <=> b.text;
  if (a.is(Kind::kBool)) return a.boolean <=> b.boolean;
  return a.is(Kind::kNull) ? Order::equivalent : Order::unordered;
}

Value compare(Op op, const Value& a, const Value& b) {
  if (a.failed() || b.failed()) return Value::error();
  auto how = order(a, b);
  if (op == Op::kEqual) return Value::of(how == std::partial_ordering::equivalent);
  if (op == Op::kNotEqual) return Value::of(how != std::partial_ordering::equivalent);
  if (how == std::partial_ordering::unordered) return Value::error();
  switch (op) {
    case Op::kLess: return Value::of(std::is_lt(how));
    case Op::kLessEqual: return Value::of(std::is_lteq(how));
    case Op::kGreater: return Value::of(std::is_gt(how));
    default: return Value::of(std::is_gteq(how));
  }
}

// Overflow and division by zero are errors.
Value arithmetic(Op op, const Value& a, const Value& b) {
  if (!a.number() || a.kind != b.kind) return Value::error();
  if (a.is(Kind::kDouble)) {
    switch (op) {
      case Op::kAdd: return Value::of(a.real + b.real);
      case Op::kSubtract: return Value::of(a.real - b.real);
      case Op::kMultiply: return Value::of(a.real * b.real);
      case Op::kDivide: return Value::of(a.real / b.real);
      default: return Value::error();
    }
  }
  auto whole = [&]<class T>(T x, T y) {
    T out{};
    switch (op) {
      case Op::kAdd: return __builtin_add_overflow(x, y, &out) ? Value::error() : Value::of(out);
      case Op::kSubtract: return __builtin_sub_overflow(x, y, &out) ? Value::error() : Value::of(out);
      case Op::kMultiply: return __builtin_mul_overflow(x, y, &out) ? Value::error() : Value::of(out);
      default: break;
    }
    if (y == 0) return Value::error();
    if constexpr (std::numeric_limits<T>::is_signed) {
      if (y == -1 && x == std::numeric_limits<T>::min()) return Value::error();
    }
    return Value::of(op == Op::kDivide ? static_cast<T>(x / y) : static_cast<T>(x % y));
  };
  if (a.is(Kind::kInt)) return whole(a.integer, b.integer);
  return whole(static_cast<uint64_t>(a.integer), static_cast<uint64_t>(b.integer));
}

template <class T>
Value parse(std::string_view text) {
  T number{};
  auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() ? Value::of(number) : Value::error();
}

Value to_number(Op op, const Value& a) {
  if (a.is(Kind::kString)) {
    if (op == Op::kInt) return parse<int64_t>(a.text);
    return op == Op::kUint ? parse<uint64_t>(a.text) : parse<double>(a.text);
  }
  if (!a.number()) return Value::error();
  if (op == Op::kDouble) return Value::of(real(a));
  if (a.is(Kind::kDouble)) {
    bool fits = op == Op::kInt ? std::abs(a.real) < 9.2e18 : a.real >= 0 && a.real < 1.8e19;
    if (!fits) return Value::error();
    return op == Op::kInt ? Value::of(static_cast<int64_t>(a.real)) : Value::of(static_cast<uint64_t>(a.real));
  }
  if (a.integer < 0) return a.is(op == Op::kInt ? Kind::kInt : Kind::kUint) ? a : Value::error();
  return op == Op::kInt ? Value::of(a.integer) : Value::of(static_cast<uint64_t>(a.integer));
}

// && and || hold when one side decides, whatever the other is.
Value Evaluation::logic(const Node& node) const {
  bool deciding = node.op == Op::kOr;
  Value left = of(node.arguments[0]);
  if (left.is(Kind::kBool) && left.boolean == deciding) return left;
  Value right = of(node.arguments[1]);
  if (right.is(Kind::kBool) && right.boolean == deciding) return right;
  if (!left.is(Kind::kBool) || !right.is(Kind::kBool)) return Value::error();
  return Value::of(!deciding);
}

Value Evaluation::call(const Node& node) const {
  Value subject = of(node.arguments[0]);
  if (node.op == Op::kHas) return Value::of(!subject.failed());
  if (subject.failed()) return subject;
  switch (node.op) {
    case Op::kString: return subject.is(Kind::kString) ? subject : keep(subject.print());
    case Op::kInt:
    case Op::kUint:
    case Op::kDouble: return to_number(node.op, subject);
    default: break;
  }
  if (!subject.is(Kind::kString)) return Value::error();
  if (node.op == Op::kSize) {
    int64_t count = 0;  // code points
    for (char c : subject.text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    return Value::of(count);
  }
  if (node.regex) return Value::of(RE2::PartialMatch({subject.text.data(), subject.text.size()}, *node.regex));
  Value argument = of(node.arguments[1]);
  if (!argument.is(Kind::kString)) return Value::error();
  switch (node.op) {
    case Op::kStartsWith: return Value::of(subject.text.starts_with(argument.text));
    case Op::kEndsWith: return Value::of(subject.text.ends_with(argument.text));
    default: return Value::of(subject.text.find(argument.text) != std::string_view::npos);
  }
}

Value Evaluation::of(const Node& node) const {
  switch (node.op) {
    case Op::kLiteral: {
      Value value = node.value;
      if (value.is(Kind::kString)) value.text = node.text;
      return value;
    }
    case Op::kAttribute: return value_of(node.attribute, node.text, facts, scratch.emplace_back());
    case Op::kList: return Value::error();  // only `in` looks into one
    case Op::kNot: {
      Value value = of(node.arguments[0]);
      return value.is(Kind::kBool) ? Value::of(!value.boolean) : Value::error();
    }
    case Op::kNegate: {
      Value value = of(node.arguments[0]);
      if (value.is(Kind::kDouble)) return Value::of(-value.real);
      return value.is(Kind::kInt) ? arithmetic(Op::kSubtract, Value::of(int64_t{0}), value) : Value::error();
    }
    case Op::kOr:
    case Op::kAnd: return logic(node);
    case Op::kEqual:
    case Op::kNotEqual:
    case Op::kLess:
    case Op::kLessEqual:
    case Op::kGreater:
    case Op::kGreaterEqual: return compare(node.op, of(node.arguments[0]), of(node.arguments[1]));
    case Op::kAdd:
    case Op::kSubtract:
    case Op::kMultiply:
    case Op::kDivide:
    case Op::kRemainder: {
      Value left = of(node.arguments[0]), right = of(node.arguments[1]);
      if (node.op != Op::kAdd || !left.is(Kind::kString) || !right.is(Kind::kString)) {
        return arithmetic(node.op, left, right);
      }
      return keep(std::string(left.text) + std::string(right.text));
    }
    case Op::kIn: {
      Value wanted = of(node.arguments[0]);
      if (wanted.failed()) return wanted;
      const Node& in = node.arguments[1];
      if (in.op == Op::kAttribute) {
        if (!wanted.is(Kind::kString)) return Value::error();
        std::string& name = scratch.emplace_back(wanted.text);
        std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
        return Value::of(!value_of(in.attribute, name, facts, scratch.emplace_back()).failed());
      }
      for (const Node& item : in.arguments) {
        Value same = compare(Op::kEqual, wanted, of(item));
        if (same.is(Kind::kBool) && same.boolean) return same;
      }
      return Value::of(false);
    }
    case Op::kTernary: {
      Value condition = of(node.arguments[0]);
      if (!condition.is(Kind::kBool)) return Value::error();
      return of(node.arguments[condition.boolean ? 1 : 2]);
    }
    default: return call(node);
  }
}

}  // namespace

std::string Value::print() const {
  switch (kind) {
    case Kind::kError: return "";
    case Kind::kNull: return "NULL";
    case Kind::kBool: return boolean ? "true" : "false";
    case Kind::kInt: return std::to_string(integer);
    case Kind::kUint: return std::to_string(static_cast<uint64_t>(integer));
    case Kind::kDouble: return fmt::format("{:.6g}", real);
    case Kind::kString: return std::string(text);
  }
  return "";
}

Value Expression::evaluate(const Facts& facts, Scratch& scratch) const { return Evaluation{facts, scratch}.of(root_); }

}  // namespace pinnace::filters::cel
