#include "filters/network/http_connection_manager/compile.h"

#include <algorithm>

#include "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.pb.h"
#include "envoy/extensions/request_id/uuid/v3/uuid.pb.h"
#include "filters/access_loggers/compile.h"
#include "filters/http/discovered/discovered.h"
#include "filters/http/router/router.h"
#include "filters/network/http_connection_manager/config.h"
#include "filters/registry.h"
#include "xds_client/compile/common.h"
#include "xds_client/compile/config_source.h"
#include "xds_client/compile/http1.h"
#include "xds_client/compile/http2.h"
#include "xds_client/compile/route.h"

namespace pinnace::filters::hcm {
namespace {

namespace pb = envoy::extensions::filters::network::http_connection_manager::v3;
using compile::in;
using compile::milliseconds;
using compile::only_fields;
using Hcm = pb::HttpConnectionManager;

Result<bool> protocols(const Hcm& proto, Settings& out) {
  auto known = only_fields(
      proto.http_protocol_options(),
      {"accept_http_10", "allow_absolute_url", "default_host_for_http_10", "enable_trailers", "header_key_format"});
  if (!known) return in("http_protocol_options", known.error());
  const auto& absolute = proto.http_protocol_options().allow_absolute_url();
  if (proto.http_protocol_options().has_allow_absolute_url() && !absolute.value()) {
    return error("http_protocol_options.allow_absolute_url: false is not supported");
  }
  out.accept_http10 = proto.http_protocol_options().accept_http_10();
  out.default_host_http10 = proto.http_protocol_options().default_host_for_http_10();
  auto h1 = compile::http1_options(proto.http_protocol_options(), out.h1.options);
  if (!h1) return in("http_protocol_options", h1.error());
  auto h2 = compile::http2_settings(proto.http2_protocol_options(), out.h2);
  if (!h2) return h2.error();
  const auto& common = proto.common_http_protocol_options();
  auto known_common =
      only_fields(common, {"idle_timeout", "max_connection_duration", "max_headers_count", "max_stream_duration",
                           "max_requests_per_connection", "headers_with_underscores_action"});
  if (!known_common) return in("common_http_protocol_options", known_common.error());
  if (common.has_idle_timeout()) out.idle_timeout_ms = milliseconds(common.idle_timeout());
  if (common.has_max_connection_duration()) out.max_connection_ms = milliseconds(common.max_connection_duration());
  if (common.has_max_headers_count()) out.h1.limits.max_headers = common.max_headers_count().value();
  if (common.has_max_stream_duration()) out.max_stream_ms = milliseconds(common.max_stream_duration());
  if (common.has_max_requests_per_connection()) {
    out.max_requests_per_connection = common.max_requests_per_connection().value();
  }
  switch (common.headers_with_underscores_action()) {
    case envoy::config::core::v3::HttpProtocolOptions::REJECT_REQUEST:
      out.underscores = Settings::Underscores::kReject;
      break;
    case envoy::config::core::v3::HttpProtocolOptions::DROP_HEADER:
      out.underscores = Settings::Underscores::kDrop;
      break;
    default: break;
  }
  if (proto.has_max_request_headers_kb()) out.h1.max_head_bytes = proto.max_request_headers_kb().value() * 1024;
  return true;
}

Result<bool> routes(const Hcm& proto, Settings& out, compile::Context& context) {
  if (proto.has_route_config()) {
    auto config = compile::route_config(proto.route_config(), context);
    if (!config) return in("route_config", config.error());
    out.inline_routes = std::move(*config);
    return true;
  }
  if (!proto.has_rds()) return error("route_specifier: only rds and route_config are supported");
  auto source = compile::config_source(proto.rds().config_source());
  if (!source) return in("rds.config_source", source.error());
  out.rds.resource = {std::move(*source), proto.rds().route_config_name()};
  out.rds.fetch_timeout_ms = compile::fetch_timeout_ms(proto.rds().config_source());
  if (out.rds.resource.name.empty()) return error("rds.route_config_name: empty");
  out.rds_id = context.ids.routes.id(model::full_name(out.rds.resource));
  return true;
}

Result<bool> discovered_filter(const std::string& name, const envoy::config::core::v3::ExtensionConfigSource& proto,
                               Settings& out, compile::Context& context) {
  model::ExtensionPlace place;
  auto source = compile::config_source(proto.config_source());
  if (!source) return in("config_source", source.error());
  place.resource = {std::move(*source), name};
  bool any = false;
  for (const auto& url : proto.type_urls()) {
    std::string type = url.substr(url.rfind('/') + 1);
    any = any || knows_http_filter(type);
    place.types.insert(std::move(type));
  }
  if (!any) return error("type_urls: no filter of these types is supported by pinnace");
  std::shared_ptr<const filter::HttpFilterConfig> otherwise;
  if (proto.has_default_config()) {
    auto compiled = compile_http_filter(name, proto.default_config(), context);
    if (!compiled) return in("default_config", compiled.error());
    otherwise = *compiled ? std::move(*compiled) : discovered::nothing();
  }
  place.waits = !(proto.apply_default_config_without_warming() && otherwise);
  place.fetch_timeout_ms = compile::fetch_timeout_ms(proto.config_source());
  place.stat_prefix = context.stat_prefix;
  place.direction = context.direction;
  std::string key = place.stat_prefix + "\n" + std::to_string(static_cast<int>(place.direction));
  for (const auto& type : place.types) key += "\n" + type;
  place.id = context.ids.extensions.id(name + "\n" + key);
  out.filters.push_back(std::make_shared<discovered::DiscoveredConfig>(place.id, std::move(otherwise)));
  out.places.push_back(std::move(place));
  return true;
}

Result<bool> filters(const Hcm& proto, Settings& out, compile::Context& context) {
  bool ends_with_router = false;
  for (const auto& filter : proto.http_filters()) {
    if (filter.disabled()) return error("http_filters[" + filter.name() + "].disabled: not supported yet");
    if (filter.has_config_discovery()) {
      auto discovered = discovered_filter(filter.name(), filter.config_discovery(), out, context);
      if (!discovered) return in("http_filters[" + filter.name() + "].config_discovery", discovered.error());
      ends_with_router = false;
      continue;
    }
    if (!filter.has_typed_config()) return error("http_filters[" + filter.name() + "]: no typed_config");
    auto compiled = compile_http_filter(filter.name(), filter.typed_config(), context);
    if (!compiled) {
      if (filter.is_optional()) continue;
      return compiled.error();
    }
    if (!*compiled) continue;
    ends_with_router = dynamic_cast<const router::RouterConfig*>(compiled->get()) != nullptr;
    out.filters.push_back(std::move(*compiled));
  }
  if (!ends_with_router) return error("http_filters: the last filter must be the router");
  return true;
}

Result<bool> internal_addresses(const Hcm& proto, Settings& out) {
  // Clients on unix sockets have no address to be told by.
  auto known = only_fields(proto.internal_address_config(), {"cidr_ranges"});
  if (!known) return known.error();
  for (const auto& range : proto.internal_address_config().cidr_ranges()) {
    auto parsed = compile::cidr(range);
    if (!parsed) return in("cidr_ranges", parsed.error());
    out.internal_ranges.push_back(std::move(*parsed));
  }
  return true;
}

void client_certificate(const Hcm& proto, Settings& out) {
  switch (proto.forward_client_cert_details()) {
    case Hcm::FORWARD_ONLY: out.client_cert = ForwardClientCert::kForwardOnly; break;
    case Hcm::APPEND_FORWARD: out.client_cert = ForwardClientCert::kAppendForward; break;
    case Hcm::SANITIZE_SET: out.client_cert = ForwardClientCert::kSanitizeSet; break;
    case Hcm::ALWAYS_FORWARD_ONLY: out.client_cert = ForwardClientCert::kAlwaysForwardOnly; break;
    default: out.client_cert = ForwardClientCert::kSanitize;
  }
  const auto& details = proto.set_current_client_cert_details();
  out.cert_subject = details.subject().value();
  out.cert_pem = details.cert();
  out.cert_chain = details.chain();
  out.cert_dns = details.dns();
  out.cert_uri = details.uri();
}

void timeouts(const Hcm& proto, Settings& out) {
  if (proto.has_stream_idle_timeout()) out.stream_idle_timeout_ms = milliseconds(proto.stream_idle_timeout());
  if (proto.has_request_timeout()) out.request_timeout_ms = milliseconds(proto.request_timeout());
  if (proto.has_request_headers_timeout())
    out.request_headers_timeout_ms = milliseconds(proto.request_headers_timeout());
  if (proto.has_drain_timeout()) out.drain_timeout_ms = milliseconds(proto.drain_timeout());
  if (proto.has_delayed_close_timeout()) out.delayed_close_ms = milliseconds(proto.delayed_close_timeout());
}

Result<bool> upgrades(const Hcm& proto, Settings& out) {
  for (const auto& config : proto.upgrade_configs()) {
    auto known = only_fields(config, {"upgrade_type", "enabled"});
    if (!known) return in("upgrade_configs[" + config.upgrade_type() + "]", known.error());
    out.upgrades.emplace_back(compile::lower(config.upgrade_type()), !config.has_enabled() || config.enabled().value());
  }
  return true;
}

void runtime_limits(Settings& out, const compile::Context& context) {
  auto number = [&](const char* key, uint64_t otherwise) { return context.runtime.number(key).value_or(otherwise); };
  out.premature_resets = number("overload.premature_reset_total_stream_count", out.premature_resets);
  out.premature_reset_s = number("overload.premature_reset_min_stream_lifetime_seconds", out.premature_reset_s);
}

using Uuid = envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;

Result<bool> request_ids(const Hcm& proto, Settings& out) {
  out.generate_request_id = !proto.has_generate_request_id() || proto.generate_request_id().value();
  out.preserve_external_request_id = proto.preserve_external_request_id();
  out.respond_with_request_id = proto.always_set_request_id_in_response();
  Uuid uuid;
  if (proto.has_request_id_extension() && !proto.request_id_extension().typed_config().UnpackTo(&uuid)) {
    return error("request_id_extension: not supported by pinnace");
  }
  bool samples = !uuid.has_use_request_id_for_trace_sampling() || uuid.use_request_id_for_trace_sampling().value();
  out.packs_trace_reason = !uuid.has_pack_trace_reason() || uuid.pack_trace_reason().value();
  out.marks_request_id = out.tracing && samples && out.packs_trace_reason;
  return true;
}

HcmStats make_stats(const std::string& stat_prefix, stats::Store& store) {
  std::string prefix = "http." + stat_prefix + ".";
  auto counter = [&](const std::string& leaf) { return store.counter(prefix + leaf); };
  HcmStats s;
  s.cx_total = counter("downstream_cx_total");
  s.cx_http1_total = counter("downstream_cx_http1_total");
  s.cx_http2_total = counter("downstream_cx_http2_total");
  s.cx_ssl_total = counter("downstream_cx_ssl_total");
  s.cx_destroy = counter("downstream_cx_destroy");
  s.cx_destroy_remote = counter("downstream_cx_destroy_remote");
  s.cx_destroy_local = counter("downstream_cx_destroy_local");
  s.cx_protocol_error = counter("downstream_cx_protocol_error");
  s.cx_idle_timeout = counter("downstream_cx_idle_timeout");
  s.cx_drain_close = counter("downstream_cx_drain_close");
  s.cx_max_duration_reached = counter("downstream_cx_max_duration_reached");
  s.cx_upgrades_active = store.gauge(prefix + "downstream_cx_upgrades_active");
  s.cx_upgrades_total = counter("downstream_cx_upgrades_total");
  s.rq_too_many_premature_resets = counter("downstream_rq_too_many_premature_resets");
  s.rq_ws_on_non_ws_route = counter("downstream_rq_ws_on_non_ws_route");
  s.cx_rx_bytes = counter("downstream_cx_rx_bytes_total");
  s.cx_tx_bytes = counter("downstream_cx_tx_bytes_total");
  s.cx_active = store.gauge(prefix + "downstream_cx_active");
  s.cx_ssl_active = store.gauge(prefix + "downstream_cx_ssl_active");
  s.rq_active = store.gauge(prefix + "downstream_rq_active");
  s.rq_total = counter("downstream_rq_total");
  s.rq_http1_total = counter("downstream_rq_http1_total");
  s.rq_http2_total = counter("downstream_rq_http2_total");
  s.rq_completed = counter("downstream_rq_completed");
  s.rq_rx_reset = counter("downstream_rq_rx_reset");
  s.rq_tx_reset = counter("downstream_rq_tx_reset");
  s.rq_timeout = counter("downstream_rq_timeout");
  s.rq_header_timeout = counter("downstream_rq_header_timeout");
  s.rq_idle_timeout = counter("downstream_rq_idle_timeout");
  s.rq_too_large = counter("downstream_rq_too_large");
  s.rq_non_relative_path = counter("downstream_rq_non_relative_path");
  s.no_route = counter("no_route");
  s.no_cluster = counter("no_cluster");
  s.rq_underscores_rejected = store.counter("http1.requests_rejected_with_underscores_in_headers");
  s.underscores_dropped = store.counter("http1.dropped_headers_with_underscores");
  s.rq_direct_response = counter("rq_direct_response");
  s.rq_redirect = counter("rq_redirect");
  for (int i = 1; i < 6; i++) s.rq_code_class[i] = counter("downstream_rq_" + std::to_string(i) + "xx");
  s.rq_time = store.histogram(prefix + "downstream_rq_time");
  return s;
}

}  // namespace

Result<std::shared_ptr<const filter::NetworkFilterConfig>> compile(const google::protobuf::Any& any,
                                                                   compile::Context& context) {
  Hcm proto;
  if (!any.UnpackTo(&proto)) return error("typed_config does not parse");
  // tracing without a provider changes nothing but the ids' trace digit.
  auto known = only_fields(proto, {"codec_type",
                                   "stat_prefix",
                                   "rds",
                                   "route_config",
                                   "http_filters",
                                   "tracing",
                                   "common_http_protocol_options",
                                   "http_protocol_options",
                                   "http2_protocol_options",
                                   "server_name",
                                   "server_header_transformation",
                                   "max_request_headers_kb",
                                   "stream_idle_timeout",
                                   "request_timeout",
                                   "request_headers_timeout",
                                   "drain_timeout",
                                   "delayed_close_timeout",
                                   "access_log",
                                   "use_remote_address",
                                   "xff_num_trusted_hops",
                                   "skip_xff_append",
                                   "via",
                                   "generate_request_id",
                                   "preserve_external_request_id",
                                   "always_set_request_id_in_response",
                                   "forward_client_cert_details",
                                   "set_current_client_cert_details",
                                   "proxy_100_continue",
                                   "upgrade_configs",
                                   "normalize_path",
                                   "merge_slashes",
                                   "path_with_escaped_slashes_action",
                                   "request_id_extension",
                                   "append_x_forwarded_port",
                                   "internal_address_config"});
  if (!known) return known.error();
  if (proto.tracing().has_provider()) return error("tracing.provider: not supported yet");
  Settings settings;
  settings.stat_prefix = proto.stat_prefix();
  switch (proto.codec_type()) {
    case Hcm::AUTO: settings.codec = CodecType::kAuto; break;
    case Hcm::HTTP1: settings.codec = CodecType::kHttp1; break;
    case Hcm::HTTP2: settings.codec = CodecType::kHttp2; break;
    default: return error("codec_type: HTTP3 is not supported");
  }
  auto options = protocols(proto, settings);
  if (!options) return options.error();
  auto route = routes(proto, settings, context);
  if (!route) return route.error();
  context.stat_prefix = settings.stat_prefix;
  auto http_filters = filters(proto, settings, context);
  if (!http_filters) return http_filters.error();
  auto logs = access_logs(proto.access_log(), context);
  if (!logs) return logs.error();
  settings.access_logs = std::move(*logs);
  if (!proto.server_name().empty()) settings.server_name = proto.server_name();
  switch (proto.server_header_transformation()) {
    case Hcm::APPEND_IF_ABSENT: settings.server_header = ServerHeader::kAppendIfAbsent; break;
    case Hcm::PASS_THROUGH: settings.server_header = ServerHeader::kPassThrough; break;
    default: settings.server_header = ServerHeader::kOverwrite;
  }
  settings.tracing = proto.has_tracing();
  auto sampling = [](bool given, const envoy::type::v3::Percent& percent) {
    return given ? static_cast<uint32_t>(std::clamp(percent.value(), 0.0, 100.0) * 100) : 10000;
  };
  const auto& tracing = proto.tracing();
  settings.client_sampling = sampling(tracing.has_client_sampling(), tracing.client_sampling());
  settings.random_sampling = sampling(tracing.has_random_sampling(), tracing.random_sampling());
  settings.overall_sampling = sampling(tracing.has_overall_sampling(), tracing.overall_sampling());
  settings.egress = context.direction == model::TrafficDirection::kOutbound;
  settings.use_remote_address = proto.use_remote_address().value();
  settings.xff_trusted_hops = proto.xff_num_trusted_hops();
  settings.local_ip = context.local_ip;
  settings.skip_xff_append = proto.skip_xff_append();
  settings.append_forwarded_port = proto.append_x_forwarded_port();
  auto internal = internal_addresses(proto, settings);
  if (!internal) return in("internal_address_config", internal.error());
  settings.via = proto.via();
  auto ids = request_ids(proto, settings);
  if (!ids) return ids.error();
  client_certificate(proto, settings);
  settings.proxy_100_continue = proto.proxy_100_continue();
  settings.path.normalize = proto.normalize_path().value();
  settings.path.merge_slashes = proto.merge_slashes();
  settings.path.strip_fragment =
      !context.runtime.boolean("envoy.reloadable_features.http_reject_path_with_fragment").value_or(true);
  switch (proto.path_with_escaped_slashes_action()) {
    case Hcm::REJECT_REQUEST: settings.path.escaped_slashes = http::EscapedSlashes::kReject; break;
    case Hcm::UNESCAPE_AND_REDIRECT: settings.path.escaped_slashes = http::EscapedSlashes::kUnescapeAndRedirect; break;
    case Hcm::UNESCAPE_AND_FORWARD: settings.path.escaped_slashes = http::EscapedSlashes::kUnescapeAndForward; break;
    default: settings.path.escaped_slashes = http::EscapedSlashes::kKeep;
  }
  auto upgraded = upgrades(proto, settings);
  if (!upgraded) return upgraded.error();
  runtime_limits(settings, context);
  timeouts(proto, settings);
  settings.stats = make_stats(settings.stat_prefix, context.stats);
  settings.h2_stats = http::h2::make_codec_stats(context.stats, "http2.");
  return std::shared_ptr<const filter::NetworkFilterConfig>(std::make_shared<HcmConfig>(std::move(settings)));
}

}  // namespace pinnace::filters::hcm
