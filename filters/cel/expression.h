// Expression: a CEL expression compiled once: literals, attributes (attributes.h), xds.node.* (known when it is
// compiled), operators, ternaries, `in` over lists, string(), int(), uint(), double(), size(), has(), startsWith(),
// endsWith(), contains(), matches(). What istiod passes on from Telemetry and what access-log filters use. Immutable.
// ERRORS: names what it does not know and where. cel-spec, langdef.md.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "envoy/config/core/v3/base.pb.h"
#include "filters/cel/attributes.h"
#include "proxy/base/result.h"

namespace re2 {
class RE2;
}

namespace pinnace::filters::cel {

struct Node {
  enum class Op : uint8_t {
    kLiteral,
    kAttribute,
    kList,
    kNot,
    kNegate,
    kOr,
    kAnd,
    kEqual,
    kNotEqual,
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kAdd,
    kSubtract,
    kMultiply,
    kDivide,
    kRemainder,
    kIn,
    kTernary,
    kHas,
    kString,
    kInt,
    kUint,
    kDouble,
    kSize,
    kStartsWith,
    kEndsWith,
    kContains,
    kMatches,
  };
  Op op = Op::kLiteral;
  Value value;       // kLiteral; its text is `text`
  std::string text;  // of a literal, or the name that an attribute is looked into by
  Attribute attribute = Attribute::kRequestPath;
  bool named = false;                     // kAttribute: with `text`
  std::shared_ptr<const re2::RE2> regex;  // kMatches with a literal
  std::vector<Node> arguments;
};

class Expression {
 public:
  static constexpr size_t kMostBytes = 4096;

  static Result<Expression> compile(std::string_view text, const envoy::config::core::v3::Node& node);

  // Where the texts of an evaluation live that were made in it.
  using Scratch = std::deque<std::string>;
  Value evaluate(const Facts& facts, Scratch& scratch) const;

 private:
  Node root_;
};

}  // namespace pinnace::filters::cel
