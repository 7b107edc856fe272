// How a text becomes an Expression: a recursive-descent parser with CEL's precedences.
#include <re2/re2.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

#include "filters/cel/expression.h"
#include "xds_client/compile/struct.h"

namespace pinnace::filters::cel {
namespace {

using Op = Node::Op;

constexpr int kMostDepth = 50;

class Parser {
 public:
  Parser(std::string_view text, const envoy::config::core::v3::Node& node) : all_(text), rest_(text), node_(node) {}

  Result<Node> whole() {
    Node out = ternary();
    skip();
    if (failure_.empty() && !rest_.empty()) fail("'" + std::string(rest_.substr(0, 12)) + "' is not expected");
    if (!failure_.empty()) return error(failure_);
    return out;
  }

 private:
  void fail(const std::string& why) {
    if (failure_.empty()) failure_ = "column " + std::to_string(all_.size() - rest_.size() + 1) + ": " + why;
    rest_ = {};  // nothing more is read
  }
  void skip() {
    while (!rest_.empty() && isspace(static_cast<unsigned char>(rest_.front()))) rest_.remove_prefix(1);
  }
  bool take(std::string_view token) {
    skip();
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  bool take_word(std::string_view word) {
    skip();
    if (!rest_.starts_with(word) || (rest_.size() > word.size() && is_name(rest_[word.size()]))) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  void need(std::string_view token) {
    if (!take(token)) fail("'" + std::string(token) + "' is expected");
  }
  static bool is_name(char c) { return isalnum(static_cast<unsigned char>(c)) || c == '_'; }
  std::string name() {
    skip();
    size_t end = 0;
    while (end < rest_.size() && is_name(rest_[end])) end++;
    std::string out(rest_.substr(0, end));
    if (out.empty() || isdigit(static_cast<unsigned char>(out[0]))) fail("a name is expected");
    else rest_.remove_prefix(end);
    return out;
  }
  static Node make(Op op, Node a) {
    Node out;
    out.op = op;
    out.arguments.push_back(std::move(a));
    return out;
  }
  static Node make(Op op, Node a, Node b) {
    Node out = make(op, std::move(a));
    out.arguments.push_back(std::move(b));
    return out;
  }
  static Node literal(Value value) {
    Node out;
    out.text = std::string(value.text);
    value.text = {};
    out.value = value;
    return out;
  }

  Node ternary() {
    if (++depth_ > kMostDepth) fail("nested too deeply");
    Node out = either();
    if (failure_.empty() && take("?")) {
      out = make(Op::kTernary, std::move(out), either());
      need(":");
      out.arguments.push_back(ternary());
    }
    depth_--;
    return out;
  }
  Node either() {
    Node out = both();
    while (take("||")) out = make(Op::kOr, std::move(out), both());
    return out;
  }
  Node both() {
    Node out = relation();
    while (take("&&")) out = make(Op::kAnd, std::move(out), relation());
    return out;
  }
  Node relation() {
    static constexpr std::pair<std::string_view, Op> kOps[] = {{"==", Op::kEqual},     {"!=", Op::kNotEqual},
                                                               {"<=", Op::kLessEqual}, {">=", Op::kGreaterEqual},
                                                               {"<", Op::kLess},       {">", Op::kGreater}};
    Node out = sum();
    for (bool more = true; more;) {
      more = false;
      for (const auto& [token, op] : kOps) {
        if (!take(token)) continue;
        out = make(op, std::move(out), sum());
        more = true;
        break;
      }
      if (!more && take_word("in")) {
        out = make(Op::kIn, std::move(out), sum(true));
        const Node& list = out.arguments[1];
        bool map = list.op == Op::kAttribute && takes_name(list.attribute) && !list.named;
        if (failure_.empty() && list.op != Op::kList && !map) fail("a list or a map is expected after 'in'");
        more = true;
      }
    }
    return out;
  }
  Node sum(bool map_allowed = false) {
    Node out = product(map_allowed);
    while (true) {
      if (take("+")) out = make(Op::kAdd, std::move(out), product());
      else if (take("-")) out = make(Op::kSubtract, std::move(out), product());
      else return out;
    }
  }
  Node product(bool map_allowed = false) {
    Node out = unary(map_allowed);
    while (true) {
      if (take("*")) out = make(Op::kMultiply, std::move(out), unary());
      else if (take("/")) out = make(Op::kDivide, std::move(out), unary());
      else if (take("%")) out = make(Op::kRemainder, std::move(out), unary());
      else return out;
    }
  }
  Node unary(bool map_allowed = false) {
    if (++depth_ > kMostDepth) fail("nested too deeply");
    Node out;
    skip();
    if (rest_.starts_with("!") && !rest_.starts_with("!=")) {
      take("!");
      out = make(Op::kNot, unary());
    } else if (rest_.starts_with("-")) {
      take("-");
      out = make(Op::kNegate, unary());
    } else {
      out = methods(primary(map_allowed));
    }
    depth_--;
    return out;
  }

  // .startsWith('x') and the like, on whatever came before.
  Node methods(Node out) {
    static constexpr std::pair<std::string_view, Op> kMethods[] = {{"startsWith", Op::kStartsWith},
                                                                   {"endsWith", Op::kEndsWith},
                                                                   {"contains", Op::kContains},
                                                                   {"matches", Op::kMatches},
                                                                   {"size", Op::kSize}};
    while (failure_.empty() && take(".")) {
      std::string method = name();
      const auto* found =
          std::find_if(std::begin(kMethods), std::end(kMethods), [&](const auto& m) { return m.first == method; });
      if (found == std::end(kMethods)) {
        fail("'" + method + "' is not supported");
        break;
      }
      need("(");
      out = make(found->second, std::move(out));
      if (found->second != Op::kSize) out.arguments.push_back(ternary());
      need(")");
      finish_call(out);
    }
    return out;
  }
  void finish_call(Node& call) {
    if (!failure_.empty() || call.op != Op::kMatches) return;
    const Node& pattern = call.arguments[1];
    if (pattern.op != Op::kLiteral || !pattern.value.is(Value::Kind::kString)) {
      return fail("matches() needs a pattern that is a literal");
    }
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(1 << 20);
    auto regex = std::make_shared<const RE2>(pattern.text, options);
    if (!regex->ok()) return fail("matches(): " + regex->error());
    call.regex = std::move(regex);
  }

  Node primary(bool map_allowed) {
    skip();
    if (rest_.empty()) {
      fail("the expression ends too early");
      return {};
    }
    char c = rest_.front();
    if (take("(")) {
      Node out = ternary();
      need(")");
      return out;
    }
    if (take("[")) return list();
    if (c == '"' || c == '\'') return string();
    if (isdigit(static_cast<unsigned char>(c))) return number();
    return named(map_allowed);
  }
  Node list() {
    Node out;
    out.op = Op::kList;
    if (take("]")) return out;
    do out.arguments.push_back(ternary());
    while (failure_.empty() && take(","));
    need("]");
    return out;
  }
  Node string() {
    std::string text;
    if (!quoted(text)) fail("a string that does not end, or an escape in it that is not supported");
    return literal(Value::of(std::string_view(text)));
  }
  bool quoted(std::string& out) {
    char quote = rest_.front();
    rest_.remove_prefix(1);
    while (!rest_.empty()) {
      char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == quote) return true;
      if (c == '\\') {
        static constexpr std::string_view kEscapes = "\\\\\"\"''n\nt\tr\r";
        if (rest_.empty()) return false;
        size_t at = 0;
        while (at < kEscapes.size() && kEscapes[at] != rest_.front()) at += 2;
        if (at >= kEscapes.size()) return false;
        c = kEscapes[at + 1];
        rest_.remove_prefix(1);
      }
      out += c;
    }
    return false;
  }
  Node number() {
    size_t end = 0;
    bool real = false;
    while (end < rest_.size() && (isdigit(static_cast<unsigned char>(rest_[end])) || rest_[end] == '.')) {
      if (rest_[end++] == '.') real = true;
    }
    const char* from = rest_.data();
    std::from_chars_result parsed{};
    Value value;
    if (real) {
      double number = 0;
      parsed = std::from_chars(from, from + end, number);
      value = Value::of(number);
    } else {
      int64_t number = 0;
      parsed = std::from_chars(from, from + end, number);
      value = Value::of(number);
    }
    if (parsed.ec != std::errc() || parsed.ptr != from + end) fail("a number that is none");
    rest_.remove_prefix(std::min(end, rest_.size()));
    if (!real && take("u")) value = Value::of(static_cast<uint64_t>(value.integer));
    return literal(value);
  }

  // true, string(x), request.headers['x'].
  Node named(bool map_allowed) {
    std::string first = name();
    if (!failure_.empty()) return {};
    if (first == "true" || first == "false") return literal(Value::of(first == "true"));
    if (first == "null") return literal(Value::null());
    static constexpr std::pair<std::string_view, Op> kFunctions[] = {{"string", Op::kString}, {"int", Op::kInt},
                                                                     {"uint", Op::kUint},     {"double", Op::kDouble},
                                                                     {"size", Op::kSize},     {"has", Op::kHas}};
    for (const auto& [function, op] : kFunctions) {
      if (function != first || !take("(")) continue;
      Node out = make(op, ternary());
      need(")");
      return out;
    }
    return path(std::move(first), map_allowed);
  }

  // ['x'] or .x; nothing: another thing comes, such as a method.
  std::optional<std::string> step() {
    std::string_view before = rest_;
    if (take("[")) {
      skip();
      std::string key;
      if (rest_.empty() || (rest_[0] != '"' && rest_[0] != '\'') || !quoted(key)) fail("a string is expected");
      need("]");
      return key;
    }
    if (!take(".")) return std::nullopt;
    std::string key = name();
    skip();
    if (!rest_.starts_with("(")) return key;
    rest_ = before;
    return std::nullopt;
  }

  Node path(std::string all, bool map_allowed) {
    if (all == "xds") {
      std::string_view before = rest_;
      if (step() == "node") return of_node();
      rest_ = before;
    }
    std::optional<Attribute> attribute;
    while (failure_.empty() && !(attribute = attribute_named(all))) {
      auto next = step();
      if (!next) break;
      all += "." + *next;
    }
    if (!attribute) {
      fail("attribute '" + all + "' is not supported");
      return {};
    }
    Node out;
    out.op = Op::kAttribute;
    out.attribute = *attribute;
    if (!takes_name(*attribute)) return out;
    auto key = step();
    if (!key) {
      if (!map_allowed) fail("'" + all + "' needs a name");
      return out;
    }
    out.named = true;
    out.text = std::move(*key);
    bool header = *attribute == Attribute::kRequestHeader || *attribute == Attribute::kResponseHeader;
    if (header)
      std::transform(out.text.begin(), out.text.end(), out.text.begin(), [](unsigned char c) { return tolower(c); });
    else if (out.text == "labels") out.text = "labels." + step().value_or("");
    return out;
  }

  // What this proxy's node says is known now.
  Node of_node() {
    auto field = step();
    if (field == "id") return literal(Value::of(std::string_view(node_.id())));
    if (field == "cluster") return literal(Value::of(std::string_view(node_.cluster())));
    if (field != "metadata") {
      fail("only xds.node.id, .cluster and .metadata are supported");
      return {};
    }
    google::protobuf::Value value;
    *value.mutable_struct_value() = node_.metadata();
    while (auto key = step()) {
      google::protobuf::Value inner = compile::value_in(value.struct_value(), *key);
      value = std::move(inner);
    }
    using Kind = google::protobuf::Value::KindCase;
    switch (value.kind_case()) {
      case Kind::kStringValue: return literal(Value::of(std::string_view(value.string_value())));
      case Kind::kNumberValue: return literal(Value::of(value.number_value()));
      case Kind::kBoolValue: return literal(Value::of(value.bool_value()));
      default: return literal(Value::error());
    }
  }

  std::string_view all_, rest_;
  const envoy::config::core::v3::Node& node_;
  std::string failure_;
  int depth_ = 0;
};

}  // namespace

Result<Expression> Expression::compile(std::string_view text, const envoy::config::core::v3::Node& node) {
  if (text.size() > kMostBytes) return error("longer than " + std::to_string(kMostBytes) + " bytes");
  auto root = Parser(text, node).whole();
  if (!root) return Error(root.error()).at("'" + std::string(text) + "'");
  Expression out;
  out.root_ = std::move(*root);
  return out;
}

}  // namespace pinnace::filters::cel
