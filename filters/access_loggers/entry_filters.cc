#include "filters/access_loggers/entry_filters.h"

#include <algorithm>

#include "envoy/extensions/access_loggers/filters/cel/v3/cel.pb.h"
#include "filters/access_loggers/operators.h"
#include "filters/cel/expression.h"
#include "xds_client/compile/common.h"

namespace pinnace::filters {
namespace {

namespace pb = envoy::config::accesslog::v3;
using access_log::Entry;
using access_log::EntryFilter;
using compile::in;
using FilterPtr = std::shared_ptr<const EntryFilter>;

constexpr int kMostDepth = 16;

// Compares a number of the entry with a configured one.
class Comparison final : public EntryFilter {
 public:
  using Operand = uint64_t (*)(const http::StreamInfo&);
  Comparison(pb::ComparisonFilter::Op op, uint64_t value, Operand operand)
      : op_(op), value_(value), operand_(operand) {}
  bool takes(const Entry& entry) const override {
    uint64_t operand = operand_(entry.info);
    switch (op_) {
      case pb::ComparisonFilter::GE: return operand >= value_;
      case pb::ComparisonFilter::LE: return operand <= value_;
      case pb::ComparisonFilter::NE: return operand != value_;
      default: return operand == value_;
    }
  }

 private:
  pb::ComparisonFilter::Op op_;
  uint64_t value_;
  Operand operand_;
};

class ResponseFlags final : public EntryFilter {
 public:
  ResponseFlags(http::Flags only, bool any) : only_(only), any_(any) {}
  bool takes(const Entry& entry) const override {
    return any_ ? entry.info.flags != 0 : (entry.info.flags & only_) != 0;
  }

 private:
  http::Flags only_;
  bool any_;
};

class Several final : public EntryFilter {
 public:
  Several(bool all, std::vector<FilterPtr> parts) : all_(all), parts_(std::move(parts)) {}
  bool takes(const Entry& entry) const override {
    auto takes = [&](const FilterPtr& part) { return part->takes(entry); };
    return all_ ? std::all_of(parts_.begin(), parts_.end(), takes) : std::any_of(parts_.begin(), parts_.end(), takes);
  }

 private:
  bool all_;
  std::vector<FilterPtr> parts_;
};

class ByExpression final : public EntryFilter {
 public:
  explicit ByExpression(cel::Expression expression) : expression_(std::move(expression)) {}
  // ENVOY: what comes to no boolean takes nothing.
  bool takes(const Entry& entry) const override {
    static thread_local cel::Expression::Scratch scratch;
    scratch.clear();
    cel::Value value = expression_.evaluate(facts_of(entry), scratch);
    return value.is(cel::Value::Kind::kBool) && value.boolean;
  }

 private:
  cel::Expression expression_;
};

Result<FilterPtr> comparison(const pb::ComparisonFilter& proto, Comparison::Operand operand,
                             compile::Context& context) {
  auto key = context.runtime.number(proto.value().runtime_key());
  return FilterPtr(std::make_shared<Comparison>(proto.op(), key.value_or(proto.value().default_value()), operand));
}

Result<FilterPtr> flags(const pb::ResponseFlagFilter& proto) {
  http::Flags only = 0;
  for (const auto& name : proto.flags()) {
    http::Flag flag = http::flag_from_text(name);
    // A flag that pinnace never sets selects nothing; refusing it would refuse the listener.
    if (flag != http::Flag::kCount) only |= http::flag_bit(flag);
  }
  return FilterPtr(std::make_shared<ResponseFlags>(only, proto.flags().empty()));
}

Result<FilterPtr> extension(const pb::ExtensionFilter& proto, compile::Context& context) {
  envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter expression;
  if (!proto.typed_config().UnpackTo(&expression)) {
    return error(proto.typed_config().type_url() + ": not supported by pinnace");
  }
  auto compiled = cel::Expression::compile(expression.expression(), context.node);
  if (!compiled) return in("expression", compiled.error());
  return FilterPtr(std::make_shared<ByExpression>(std::move(*compiled)));
}

Result<FilterPtr> compile_filter(const pb::AccessLogFilter& proto, compile::Context& context, int depth) {
  using Case = pb::AccessLogFilter::FilterSpecifierCase;
  if (depth == 0) return error("nested too deeply");
  auto several = [&](bool all, const auto& protos) -> Result<FilterPtr> {
    std::vector<FilterPtr> parts;
    for (const auto& part : protos) {
      auto compiled = compile_filter(part, context, depth - 1);
      if (!compiled) return compiled.error();
      parts.push_back(std::move(*compiled));
    }
    return FilterPtr(std::make_shared<Several>(all, std::move(parts)));
  };
  switch (proto.filter_specifier_case()) {
    case Case::kStatusCodeFilter:
      return comparison(
          proto.status_code_filter().comparison(),
          [](const http::StreamInfo& info) -> uint64_t { return info.response_code; }, context);
    case Case::kDurationFilter:
      return comparison(
          proto.duration_filter().comparison(),
          [](const http::StreamInfo& info) -> uint64_t { return (info.end_ns - info.start_ns) / 1000000; }, context);
    case Case::kResponseFlagFilter: return flags(proto.response_flag_filter());
    case Case::kAndFilter: return several(true, proto.and_filter().filters());
    case Case::kOrFilter: return several(false, proto.or_filter().filters());
    case Case::kExtensionFilter: return extension(proto.extension_filter(), context);
    default:
      return error(
          "only status_code_filter, duration_filter, response_flag_filter, and_filter, or_filter and CEL expressions "
          "are supported");
  }
}

}  // namespace

Result<FilterPtr> entry_filter(const pb::AccessLogFilter& proto, compile::Context& context) {
  return compile_filter(proto, context, kMostDepth);
}

}  // namespace pinnace::filters
