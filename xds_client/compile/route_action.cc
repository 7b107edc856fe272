#include "xds_client/compile/route_action.h"

#include <re2/re2.h>

#include "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.pb.h"
#include "proxy/route/retry_on.h"
#include "xds_client/compile/common.h"

namespace pinnace::compile {
namespace {

namespace pb = envoy::config::route::v3;

}  // namespace

Result<model::RetryPolicy> retry_policy(const pb::RetryPolicy& proto) {
  auto known = only_fields(proto, {"retry_on", "num_retries", "per_try_timeout", "retry_host_predicate",
                                   "host_selection_retry_max_attempts", "retriable_status_codes", "retry_back_off"});
  if (!known) return known.error();
  model::RetryPolicy out;
  out.retry_on = route::retry_conditions(proto.retry_on());
  if (out.retry_on & model::kRetryRetriableHeaders) return error("retry_on: retriable-headers is not supported yet");
  if (proto.has_num_retries()) out.num_retries = proto.num_retries().value();
  out.per_try_timeout_ms = milliseconds(proto.per_try_timeout());
  for (const auto& predicate : proto.retry_host_predicate()) {
    using PreviousHosts = envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
    if (!predicate.typed_config().Is<PreviousHosts>() &&
        predicate.name() != "envoy.retry_host_predicates.previous_hosts") {
      return error("retry_host_predicate '" + predicate.name() + "': not supported by pinnace");
    }
    out.avoid_previous_hosts = true;
  }
  if (proto.host_selection_retry_max_attempts() > 0) {
    out.host_selection_attempts =
        static_cast<uint32_t>(std::min<int64_t>(100, proto.host_selection_retry_max_attempts()));
  }
  out.retriable_status_codes.assign(proto.retriable_status_codes().begin(), proto.retriable_status_codes().end());
  if (proto.has_retry_back_off()) {
    out.back_off_base_ms = milliseconds(proto.retry_back_off().base_interval());
    out.back_off_max_ms = proto.retry_back_off().has_max_interval()
                              ? milliseconds(proto.retry_back_off().max_interval())
                              : out.back_off_base_ms * 10;
  }
  return out;
}

namespace {

Result<bool> stream_limits(const pb::RouteAction& proto, model::RouteAction& out) {
  if (proto.has_max_grpc_timeout()) out.max_grpc_timeout_ms = milliseconds(proto.max_grpc_timeout());
  out.grpc_timeout_offset_ms = milliseconds(proto.grpc_timeout_offset());
  const auto& limits = proto.max_stream_duration();
  auto known = only_fields(limits, {"max_stream_duration", "grpc_timeout_header_max", "grpc_timeout_header_offset"});
  if (!known) return in("max_stream_duration", known.error());
  if (limits.has_max_stream_duration()) out.max_stream_duration_ms = milliseconds(limits.max_stream_duration());
  if (limits.has_grpc_timeout_header_max()) {
    out.grpc_timeout_header_max_ms = milliseconds(limits.grpc_timeout_header_max());
  }
  out.grpc_timeout_header_offset_ms = milliseconds(limits.grpc_timeout_header_offset());
  return true;
}

Result<bool> upgrades(const pb::RouteAction& proto, model::RouteAction& out) {
  for (const auto& config : proto.upgrade_configs()) {
    std::string place = "upgrade_configs[" + config.upgrade_type() + "]";
    auto known = only_fields(config, {"upgrade_type", "enabled", "connect_config"});
    if (!known) return in(place, known.error());
    out.upgrades.emplace_back(lower(config.upgrade_type()), !config.has_enabled() || config.enabled().value());
    if (!config.has_connect_config()) continue;
    if (out.upgrades.back().first != "connect") return error(place + ".connect_config: only for CONNECT");
    auto known_connect = only_fields(config.connect_config(), {});
    if (!known_connect) return in(place + ".connect_config", known_connect.error());
    out.terminate_connect = true;
  }
  return true;
}

}  // namespace

Result<model::RouteAction> route_action(const pb::RouteAction& proto, Context& context) {
  auto known =
      only_fields(proto, {"cluster", "weighted_clusters", "cluster_not_found_response_code", "prefix_rewrite",
                          "regex_rewrite", "host_rewrite_literal", "auto_host_rewrite", "append_x_forwarded_host",
                          "timeout", "idle_timeout", "retry_policy", "max_grpc_timeout", "grpc_timeout_offset",
                          "max_stream_duration", "priority", "upgrade_configs"});
  if (!known) return known.error();
  model::RouteAction out;
  auto add = [&](const std::string& name, uint32_t weight) {
    out.clusters.push_back({context.ids.clusters.id(name), name, weight});
    out.total_weight += weight;
  };
  switch (proto.cluster_specifier_case()) {
    case pb::RouteAction::kCluster: add(proto.cluster(), 1); break;
    case pb::RouteAction::kWeightedClusters:
      for (const auto& weighted : proto.weighted_clusters().clusters()) {
        auto known_weighted = only_fields(weighted, {"name", "weight"});
        if (!known_weighted) return in("weighted_clusters.clusters[" + weighted.name() + "]", known_weighted.error());
        if (weighted.weight().value() > 0xffffffff - out.total_weight) {
          return error("weighted_clusters: the weights add up to more than 4294967295");
        }
        add(weighted.name(), weighted.weight().value());
      }
      if (out.total_weight == 0) return error("weighted_clusters: the weights add up to 0");
      break;
    default: return error("cluster_specifier: only cluster and weighted_clusters are supported");
  }
  if (proto.priority() != envoy::config::core::v3::DEFAULT) return error("priority: only DEFAULT is supported");
  switch (proto.cluster_not_found_response_code()) {
    case pb::RouteAction::NOT_FOUND: out.cluster_not_found_code = 404; break;
    case pb::RouteAction::INTERNAL_SERVER_ERROR: out.cluster_not_found_code = 500; break;
    default: out.cluster_not_found_code = 503;
  }
  if (!proto.prefix_rewrite().empty()) out.prefix_rewrite = proto.prefix_rewrite();
  if (proto.has_regex_rewrite()) {
    auto pattern = regex(proto.regex_rewrite().pattern());
    if (!pattern) return in("regex_rewrite", pattern.error());
    std::string why;
    if (!(*pattern)->CheckRewriteString(proto.regex_rewrite().substitution(), &why)) {
      return error("regex_rewrite.substitution: " + why);
    }
    out.regex_rewrite = std::move(*pattern);
    out.regex_substitution = proto.regex_rewrite().substitution();
  }
  out.host_rewrite = proto.host_rewrite_literal();
  out.auto_host_rewrite = proto.auto_host_rewrite().value();
  out.append_forwarded_host = proto.append_x_forwarded_host();
  if (proto.has_timeout()) out.timeout_ms = milliseconds(proto.timeout());
  if (proto.has_idle_timeout()) out.idle_timeout_ms = milliseconds(proto.idle_timeout());
  auto limits = stream_limits(proto, out);
  if (!limits) return limits.error();
  auto upgraded = upgrades(proto, out);
  if (!upgraded) return upgraded.error();
  if (proto.has_retry_policy()) {
    auto retry = retry_policy(proto.retry_policy());
    if (!retry) return in("retry_policy", retry.error());
    out.retry = std::move(*retry);
  }
  return out;
}

Result<model::RedirectAction> redirect_action(const pb::RedirectAction& proto) {
  auto known = only_fields(proto, {"https_redirect", "scheme_redirect", "host_redirect", "port_redirect",
                                   "path_redirect", "prefix_rewrite", "response_code", "strip_query"});
  if (!known) return known.error();
  model::RedirectAction out;
  out.https = proto.https_redirect();
  out.scheme = proto.scheme_redirect();
  out.host = proto.host_redirect();
  out.port = static_cast<uint16_t>(proto.port_redirect());
  out.path = proto.path_redirect();
  out.has_prefix_rewrite = proto.path_rewrite_specifier_case() == pb::RedirectAction::kPrefixRewrite;
  out.prefix_rewrite = proto.prefix_rewrite();
  out.strip_query = proto.strip_query();
  switch (proto.response_code()) {
    case pb::RedirectAction::FOUND: out.code = 302; break;
    case pb::RedirectAction::SEE_OTHER: out.code = 303; break;
    case pb::RedirectAction::TEMPORARY_REDIRECT: out.code = 307; break;
    case pb::RedirectAction::PERMANENT_REDIRECT: out.code = 308; break;
    default: out.code = 301;
  }
  return out;
}

}  // namespace pinnace::compile
