#include "filters/access_loggers/operators.h"

#include "filters/cel/expression.h"
#include "filters/istio/peers.h"
#include "proxy/filter/filter_state.h"

namespace pinnace::filters {
namespace {

using access_log::Entry;
using access_log::OperatorPtr;
using access_log::ValueWriter;

// ENVOY: what fails has no value.
void write(const cel::Value& value, const ValueWriter& to) { value.failed() ? to.absent() : to.value(value.print()); }

class ExpressionOperator final : public access_log::Operator {
 public:
  explicit ExpressionOperator(cel::Expression expression) : expression_(std::move(expression)) {}
  void write(const Entry& entry, const ValueWriter& to) const override {
    static thread_local cel::Expression::Scratch scratch;
    scratch.clear();
    filters::write(expression_.evaluate(facts_of(entry), scratch), to);
  }

 private:
  cel::Expression expression_;
};

class PeerOperator final : public access_log::Operator {
 public:
  PeerOperator(cel::Attribute peer, std::string field) : peer_(peer), field_(std::move(field)) {}
  void write(const Entry& entry, const ValueWriter& to) const override {
    std::string scratch;
    filters::write(cel::value_of(peer_, field_, facts_of(entry), scratch), to);
  }

 private:
  cel::Attribute peer_;
  std::string field_;
};

class AbsentOperator final : public access_log::Operator {
 public:
  void write(const Entry&, const ValueWriter& to) const override { to.absent(); }
};

Result<OperatorPtr> filter_state(std::string_view argument) {
  constexpr std::string_view kField = ":FIELD:";
  size_t colon = argument.find(':');
  auto peer = cel::attribute_named("filter_state." + std::string(argument.substr(0, colon)));
  std::string_view rest = colon == std::string_view::npos ? std::string_view() : argument.substr(colon);
  if (!peer || !rest.starts_with(kField) || rest.size() == kField.size()) {
    return error("%FILTER_STATE(" + std::string(argument) +
                 ")%: pinnace knows downstream_peer:FIELD:name and upstream_peer:FIELD:name");
  }
  return OperatorPtr(std::make_shared<PeerOperator>(*peer, std::string(rest.substr(kField.size()))));
}

}  // namespace

cel::Facts facts_of(const Entry& entry) {
  cel::Facts facts{entry.info, entry.request, entry.response, access_log::grpc_status(entry)};
  if (!entry.state) return facts;
  if (const auto* peer = entry.state->find<istio::DownstreamPeer>()) facts.downstream_peer = peer->workload.get();
  if (const auto* peer = entry.state->find<istio::UpstreamPeer>()) facts.upstream_peer = peer->workload.get();
  return facts;
}

access_log::MakeOperator more_operators(compile::Context& context) {
  return [&context](std::string_view name, std::string_view argument) -> Result<OperatorPtr> {
    // ENVOY: without filters that write dynamic metadata, and without a tracer, both are absent.
    if (name == "DYNAMIC_METADATA" || name == "TRACE_ID") return OperatorPtr(std::make_shared<AbsentOperator>());
    if (name == "FILTER_STATE") return filter_state(argument);
    if (name != "CEL") return OperatorPtr();
    auto expression = cel::Expression::compile(std::string(argument), context.node);
    if (!expression) return error("%CEL(" + std::string(argument) + ")%: " + expression.error().message);
    return OperatorPtr(std::make_shared<ExpressionOperator>(std::move(*expression)));
  };
}

}  // namespace pinnace::filters
