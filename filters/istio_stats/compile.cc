#include "filters/istio_stats/compile.h"

#include "filters/istio_stats/http_stats.h"
#include "filters/istio_stats/tcp_stats.h"
#include "istio/stats.pb.h"
#include "xds_client/compile/common.h"
#include "xds_client/compile/struct.h"

namespace pinnace::filters::istio_stats {
namespace {

using google::protobuf::Any;

// The expressions met so far: istiod repeats those of a Telemetry resource for each metric.
using Known = std::map<std::string, size_t>;

// One entry of metrics: for the metric it names, or for all.
Result<bool> override_with(const ::stats::MetricConfig& proto, const envoy::config::core::v3::Node& node, Known& known,
                           Settings& out) {
  if (!proto.match().empty()) return error("match: not supported");
  std::map<std::string, size_t> dimensions;  // sorted, so that labels always come in one order
  for (const auto& [label, text] : proto.dimensions()) {
    auto [at, fresh] = known.emplace(text, out.expressions.size());
    dimensions[label] = at->second;
    if (!fresh) continue;
    auto expression = cel::Expression::compile(text, node);
    if (!expression) return compile::in("dimensions[" + label + "]", expression.error());
    out.expressions.push_back(std::move(*expression));
  }
  for (size_t i = 0; i < kMetrics; i++) {
    if (!proto.name().empty() && proto.name() != metric_name(static_cast<Metric>(i))) continue;
    if (proto.drop()) {
      // ISTIO: a drop without a name drops nothing.
      if (!proto.name().empty()) out.overrides[i].drop = true;
      continue;
    }
    for (const auto& tag : proto.tags_to_remove()) {
      if (standard_labels().contains(tag)) out.overrides[i].changed[tag] = std::nullopt;
    }
    for (const auto& [label, expression] : dimensions) {
      if (standard_labels().contains(label)) out.overrides[i].changed[label] = expression;
      else out.overrides[i].added.emplace_back(label, expression);
    }
  }
  return true;
}

Result<SettingsPtr> settings_of(const Any& any, compile::Context& context) {
  ::stats::PluginConfig proto;
  if (!any.UnpackTo(&proto)) return error("typed_config does not parse");
  if (proto.definitions_size() > 0) return error("definitions: not supported by pinnace");
  auto out = std::make_shared<Settings>();
  out->store = &context.stats;
  // rotation_interval and graceful_deletion_interval: combinations of labels are bounded instead (series.h).
  out->host_fallback = !proto.disable_host_header_fallback();
  if (proto.has_tcp_reporting_duration()) {
    out->report_every_ms = compile::milliseconds(proto.tcp_reporting_duration());
  }
  bool inbound = context.direction == model::TrafficDirection::kInbound;
  out->reporter = proto.reporter() == ::stats::SERVER_GATEWAY ? Reporter::kWaypoint
                  : inbound                                   ? Reporter::kDestination
                                                              : Reporter::kSource;
  out->local = istio::workload_of(context.node, {});
  const auto& labels = compile::value_in(context.node.metadata(), "LABELS").struct_value();
  out->local.app = compile::value_in(labels, "app").string_value();  // ISTIO: of itself not by the qualified names
  out->local.version = compile::value_in(labels, "version").string_value();
  Known known;
  for (const auto& metric : proto.metrics()) {
    auto done = override_with(metric, context.node, known, *out);
    if (!done) return compile::in("metrics[" + metric.name() + "]", done.error());
  }
  std::string version = compile::value_in(context.node.metadata(), "ISTIO_VERSION").string_value();
  if (version.empty()) version = "unknown";
  context.stats.set_shared(context.stats.gauge("istiocustom.istio_build", {{"component", "proxy"}, {"tag", version}}),
                           1);
  return SettingsPtr(std::move(out));
}

}  // namespace

Result<std::shared_ptr<const filter::HttpFilterConfig>> compile_http(const Any& any, compile::Context& context) {
  auto settings = settings_of(any, context);
  if (!settings) return settings.error();
  return std::shared_ptr<const filter::HttpFilterConfig>(std::make_shared<HttpStatsConfig>(std::move(*settings)));
}

Result<std::shared_ptr<const filter::TcpObserverConfig>> compile_tcp(const Any& any, compile::Context& context) {
  auto settings = settings_of(any, context);
  if (!settings) return settings.error();
  return std::shared_ptr<const filter::TcpObserverConfig>(std::make_shared<TcpStatsConfig>(std::move(*settings)));
}

}  // namespace pinnace::filters::istio_stats
