#include "xds_client/compile/cluster.h"

#include "envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.pb.h"
#include "envoy/extensions/upstreams/http/v3/http_protocol_options.pb.h"
#include "xds_client/compile/cluster_dns.h"
#include "xds_client/compile/cluster_stats.h"
#include "xds_client/compile/common.h"
#include "xds_client/compile/config_source.h"
#include "xds_client/compile/http1.h"
#include "xds_client/compile/http2.h"
#include "xds_client/compile/struct.h"
#include "xds_client/compile/tls.h"

namespace pinnace::compile {
namespace {

namespace pb = envoy::config::cluster::v3;
namespace core = envoy::config::core::v3;
using HttpProtocolOptions = envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
using model::ClusterType;
using model::LbPolicy;

Result<bool> http1(const core::Http1ProtocolOptions& proto, model::ClusterConfig& out) {
  auto known = only_fields(proto, {"enable_trailers", "header_key_format"});
  if (!known) return known.error();
  return http1_options(proto, out.http1);
}

// One of the two forms that leave the protocol open; both may say how to speak each.
template <class Config>
Result<bool> either_protocol(const Config& config, model::ClusterConfig& out) {
  auto known = only_fields(config, {"http_protocol_options", "http2_protocol_options"});
  if (!known) return known.error();
  auto done = http1(config.http_protocol_options(), out);
  if (!done) return in("http_protocol_options", done.error());
  return http2_settings(config.http2_protocol_options(), out.http2);
}

Result<bool> common_options(const core::HttpProtocolOptions& common, model::ClusterConfig& out) {
  auto known = only_fields(common, {"idle_timeout", "max_connection_duration", "max_requests_per_connection",
                                    "max_headers_count", "max_response_headers_kb"});
  if (!known) return known.error();
  if (common.has_idle_timeout()) out.idle_timeout_ms = milliseconds(common.idle_timeout());
  if (common.has_max_connection_duration()) {
    out.max_connection_duration_ms = milliseconds(common.max_connection_duration());
  }
  if (common.has_max_requests_per_connection()) {
    out.max_requests_per_connection = common.max_requests_per_connection().value();
  }
  if (common.has_max_response_headers_kb()) {
    out.max_response_head_bytes = common.max_response_headers_kb().value() * 1024;
  }
  if (common.has_max_headers_count()) out.max_response_headers = common.max_headers_count().value();
  return true;
}

Result<bool> protocol_options(const pb::Cluster& proto, model::ClusterConfig& out, bool& auto_sni, bool& auto_san) {
  for (const auto& [name, any] : proto.typed_extension_protocol_options()) {
    std::string place = "typed_extension_protocol_options[" + name + "]";
    HttpProtocolOptions options;
    if (!any.UnpackTo(&options)) return error(place + " (" + any.type_url() + "): not supported by pinnace");
    auto known = only_fields(options, {"common_http_protocol_options", "upstream_http_protocol_options",
                                       "explicit_http_config", "use_downstream_protocol_config", "auto_config"});
    if (!known) return in(place, known.error());
    switch (options.upstream_protocol_options_case()) {
      case HttpProtocolOptions::kExplicitHttpConfig: {
        const auto& config = options.explicit_http_config();
        if (config.has_http2_protocol_options()) {
          out.protocol = model::UpstreamProtocol::kHttp2;
          auto done = http2_settings(config.http2_protocol_options(), out.http2);
          if (!done) return in(place, done.error());
        } else if (config.has_http_protocol_options()) {
          auto done = http1(config.http_protocol_options(), out);
          if (!done) return in(place + ".explicit_http_config.http_protocol_options", done.error());
        } else {
          return error(place + ".explicit_http_config: HTTP/3 is not supported");
        }
        break;
      }
      case HttpProtocolOptions::kUseDownstreamProtocolConfig: {
        out.protocol = model::UpstreamProtocol::kUseDownstream;
        auto done = either_protocol(options.use_downstream_protocol_config(), out);
        if (!done) return in(place + ".use_downstream_protocol_config", done.error());
        break;
      }
      case HttpProtocolOptions::kAutoConfig: {
        out.protocol = model::UpstreamProtocol::kAuto;
        auto done = either_protocol(options.auto_config(), out);
        if (!done) return in(place + ".auto_config", done.error());
        break;
      }
      default: break;
    }
    auto done = common_options(options.common_http_protocol_options(), out);
    if (!done) return in(place + ".common_http_protocol_options", done.error());
    const auto& upstream = options.upstream_http_protocol_options();
    auto known_upstream = only_fields(upstream, {"auto_sni", "auto_san_validation"});
    if (!known_upstream) return in(place + ".upstream_http_protocol_options", known_upstream.error());
    auto_sni = upstream.auto_sni();
    auto_san = upstream.auto_san_validation();
  }
  return true;
}

struct InnerSocket {
  core::TransportSocket socket;
  model::ProxyProtocol version = model::ProxyProtocol::kNone;
};

// upstream_proxy_protocol wraps the transport socket proper.
Result<InnerSocket> unwrap_proxy_protocol(const core::TransportSocket& socket) {
  envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport wrapper;
  if (!socket.typed_config().UnpackTo(&wrapper)) return InnerSocket{socket};
  auto known = only_fields(wrapper, {"config", "transport_socket"});
  if (!known) return in("upstream_proxy_protocol", known.error());
  auto known_config = only_fields(wrapper.config(), {"version"});
  if (!known_config) return in("upstream_proxy_protocol.config", known_config.error());
  bool v2 = wrapper.config().version() == core::ProxyProtocolConfig::V2;
  return InnerSocket{wrapper.transport_socket(), v2 ? model::ProxyProtocol::kV2 : model::ProxyProtocol::kV1};
}

Result<bool> sockets(const pb::Cluster& proto, CompiledCluster& out, bool auto_sni, bool auto_san, Context& context) {
  auto add = [&](const core::TransportSocket& socket, std::string name, model::MatchLabels match,
                 const std::string& place) -> Result<bool> {
    auto inner = unwrap_proxy_protocol(socket);
    if (!inner) return in(place, inner.error());
    auto tls = upstream_transport(inner->socket, context);
    if (!tls) return in(place, tls.error());
    if (*tls) {
      out.tls_contexts.push_back((*tls)->context_id);
      if (auto_sni || auto_san) {
        auto changed = std::make_shared<model::UpstreamTls>(**tls);
        changed->auto_sni = changed->auto_sni || auto_sni;
        changed->auto_san_validation = changed->auto_san_validation || auto_san;
        *tls = changed;
      }
    }
    out.config->sockets.push_back({std::move(name), std::move(match), std::move(*tls), inner->version});
    return true;
  };
  for (const auto& match : proto.transport_socket_matches()) {
    model::MatchLabels labels;
    for (const auto& [key, value] : match.match().fields()) labels.emplace_back(key, value.string_value());
    auto done = add(match.transport_socket(), match.name(), std::move(labels),
                    "transport_socket_matches[" + match.name() + "]");
    if (!done) return done.error();
  }
  return add(proto.transport_socket(), "default", {}, "transport_socket");
}

Result<bool> bind_addresses(const core::BindConfig& proto, model::ClusterConfig& out) {
  auto known = only_fields(proto, {"source_address", "extra_source_addresses"});
  if (!known) return known.error();
  auto add = [&](const core::SocketAddress& source, const char* place) -> Result<bool> {
    auto number = port(source.port_value());
    if (!number) return in(place, number.error());
    auto address = base::Address::ip(source.address(), *number);
    if (!address) return in(place, address.error());
    out.bind_addresses.push_back(std::move(*address));
    return true;
  };
  if (proto.has_source_address()) {
    auto added = add(proto.source_address(), "source_address");
    if (!added) return added.error();
  }
  for (const auto& extra : proto.extra_source_addresses()) {
    auto known_extra = only_fields(extra, {"address"});
    if (!known_extra) return in("extra_source_addresses", known_extra.error());
    auto added = add(extra.address(), "extra_source_addresses");
    if (!added) return added.error();
  }
  return true;
}

Result<bool> breakers(const pb::Cluster& proto, model::CircuitBreakers& out) {
  auto known = only_fields(proto.circuit_breakers(), {"thresholds"});
  if (!known) return in("circuit_breakers", known.error());
  for (const auto& threshold : proto.circuit_breakers().thresholds()) {
    if (threshold.priority() != core::DEFAULT) continue;  // routes of HIGH priority are refused, so nothing uses it
    auto known_threshold = only_fields(threshold, {"priority", "max_connections", "max_pending_requests",
                                                   "max_requests", "max_retries", "track_remaining"});
    if (!known_threshold) return in("circuit_breakers.thresholds", known_threshold.error());
    if (threshold.has_max_connections()) out.max_connections = threshold.max_connections().value();
    if (threshold.has_max_pending_requests()) out.max_pending = threshold.max_pending_requests().value();
    if (threshold.has_max_requests()) out.max_requests = threshold.max_requests().value();
    if (threshold.has_max_retries()) out.max_retries = threshold.max_retries().value();
  }
  return true;
}

Result<bool> type_of(const pb::Cluster& proto, CompiledCluster& out) {
  model::ClusterConfig& config = *out.config;
  switch (proto.type()) {
    case pb::Cluster::STATIC: config.type = ClusterType::kStatic; break;
    case pb::Cluster::STRICT_DNS: config.type = ClusterType::kStrictDns; break;
    case pb::Cluster::LOGICAL_DNS: config.type = ClusterType::kLogicalDns; break;
    case pb::Cluster::EDS: {
      config.type = ClusterType::kEds;
      const auto& eds = proto.eds_cluster_config();
      auto source = config_source(eds.eds_config());
      if (!source) return in("eds_cluster_config.eds_config", source.error());
      out.eds = {std::move(*source), eds.service_name().empty() ? proto.name() : eds.service_name()};
      out.eds_timeout_ms = fetch_timeout_ms(eds.eds_config());
      break;
    }
    case pb::Cluster::ORIGINAL_DST: {
      config.type = ClusterType::kOriginalDst;
      const auto& settings = proto.original_dst_lb_config();
      auto known = only_fields(settings, {"upstream_port_override"});
      if (!known) return in("original_dst_lb_config", known.error());
      if (settings.has_upstream_port_override()) {
        auto number = port(settings.upstream_port_override().value());
        if (!number) return in("original_dst_lb_config.upstream_port_override", number.error());
        config.original_dst_port = *number;
      }
      break;
    }
    default: return error("type: not supported by pinnace");
  }
  return true;
}

Result<bool> lb_of(const pb::Cluster& proto, model::ClusterConfig& config) {
  switch (proto.lb_policy()) {
    case pb::Cluster::ROUND_ROBIN: config.lb = LbPolicy::kRoundRobin; break;
    case pb::Cluster::RANDOM: config.lb = LbPolicy::kRandom; break;
    case pb::Cluster::LEAST_REQUEST: config.lb = LbPolicy::kLeastRequest; break;
    case pb::Cluster::CLUSTER_PROVIDED: config.lb = LbPolicy::kClusterProvided; break;
    default: return error("lb_policy: " + pb::Cluster::LbPolicy_Name(proto.lb_policy()) + " is not supported yet");
  }
  if (proto.has_least_request_lb_config()) {
    auto known = only_fields(proto.least_request_lb_config(), {"choice_count"});
    if (!known) return in("least_request_lb_config", known.error());
    if (proto.least_request_lb_config().has_choice_count()) {
      config.least_request_choices = proto.least_request_lb_config().choice_count().value();
      if (config.least_request_choices < 2) return error("least_request_lb_config.choice_count: must be at least 2");
    }
  }
  auto round_robin = only_fields(proto.round_robin_lb_config(), {});
  if (!round_robin) return in("round_robin_lb_config", round_robin.error());
  const auto& common = proto.common_lb_config();
  auto known = only_fields(common, {"healthy_panic_threshold"});
  if (!known) return in("common_lb_config", known.error());
  if (common.has_healthy_panic_threshold()) {
    config.healthy_panic_percent = static_cast<uint32_t>(common.healthy_panic_threshold().value());
  }
  return true;
}

// What Istio's filters ask of a cluster.
model::IstioCluster istio_of(const core::Metadata& metadata) {
  model::IstioCluster out;
  auto istio = metadata.filter_metadata().find("istio");
  if (istio == metadata.filter_metadata().end()) return out;
  const auto& fields = istio->second;
  out.external = value_in(fields, "external").bool_value();
  out.disable_mx = value_in(fields, "disable_mx").bool_value();
  out.no_alpn_override = value_in(fields, "alpn_override").string_value() == "false";
  const auto& services = value_in(fields, "services").list_value();
  if (services.values_size() > 0) {
    const auto& first = services.values(0).struct_value();
    auto& service = out.service.emplace();
    service.host = value_in(first, "host").string_value();
    bool named = first.fields().contains("name");
    service.name = named ? value_in(first, "name").string_value() : service.host.substr(0, service.host.find('.'));
    service.namespace_name = value_in(first, "namespace").string_value();
  }
  return out;
}

}  // namespace

Result<CompiledCluster> cluster(const pb::Cluster& proto, Context& context) {
  // alt_stat_name, metadata and filters carry names and Istio's own metadata.
  auto known = only_fields(proto, {"transport_socket_matches",
                                   "name",
                                   "alt_stat_name",
                                   "type",
                                   "eds_cluster_config",
                                   "connect_timeout",
                                   "per_connection_buffer_limit_bytes",
                                   "lb_policy",
                                   "load_assignment",
                                   "circuit_breakers",
                                   "typed_extension_protocol_options",
                                   "http2_protocol_options",
                                   "dns_refresh_rate",
                                   "dns_jitter",
                                   "respect_dns_ttl",
                                   "dns_lookup_family",
                                   "typed_dns_resolver_config",
                                   "cleanup_interval",
                                   "upstream_bind_config",
                                   "least_request_lb_config",
                                   "original_dst_lb_config",
                                   "common_lb_config",
                                   "transport_socket",
                                   "metadata",
                                   "filters",  // xds_client/cluster_compile.h
                                   "upstream_connection_options",
                                   "max_requests_per_connection",
                                   "common_http_protocol_options",
                                   "round_robin_lb_config"});
  if (!known) return known.error();
  if (proto.name().empty()) return error("name: empty");
  CompiledCluster out;
  out.config = std::make_shared<model::ClusterConfig>();
  model::ClusterConfig& config = *out.config;
  config.name = proto.name();
  config.id = context.ids.clusters.id(proto.name());
  config.stat_name = proto.alt_stat_name().empty() ? proto.name() : proto.alt_stat_name();
  config.content_hash = content_hash(proto);
  auto type = type_of(proto, out);
  if (!type) return type.error();
  auto lb = lb_of(proto, config);
  if (!lb) return lb.error();
  if (proto.has_connect_timeout()) config.connect_timeout_ms = milliseconds(proto.connect_timeout());
  if (proto.has_per_connection_buffer_limit_bytes())
    config.buffer_limit = proto.per_connection_buffer_limit_bytes().value();
  if (proto.has_max_requests_per_connection()) {
    config.max_requests_per_connection = proto.max_requests_per_connection().value();
  }
  if (proto.has_http2_protocol_options()) {
    config.protocol = model::UpstreamProtocol::kHttp2;
    auto h2 = http2_settings(proto.http2_protocol_options(), config.http2);
    if (!h2) return h2.error();
  }
  auto common = common_options(proto.common_http_protocol_options(), config);
  if (!common) return in("common_http_protocol_options", common.error());
  bool auto_sni = false, auto_san = false;
  auto options = protocol_options(proto, config, auto_sni, auto_san);
  if (!options) return options.error();
  auto limits = breakers(proto, config.breakers);
  if (!limits) return limits.error();
  auto transport = sockets(proto, out, auto_sni, auto_san, context);
  if (!transport) return transport.error();
  auto bound = bind_addresses(proto.upstream_bind_config(), config);
  if (!bound) return in("upstream_bind_config", bound.error());
  if (proto.has_cleanup_interval()) {
    config.cleanup_interval_ms = milliseconds(proto.cleanup_interval());
    if (config.cleanup_interval_ms == 0) return error("cleanup_interval: must be at least 1 ms");
  }
  auto known_connection = only_fields(proto.upstream_connection_options(), {"tcp_keepalive"});
  if (!known_connection) return in("upstream_connection_options", known_connection.error());
  if (proto.upstream_connection_options().has_tcp_keepalive()) {
    const auto& keepalive = proto.upstream_connection_options().tcp_keepalive();
    config.keepalive = net::Keepalive{keepalive.keepalive_probes().value(), keepalive.keepalive_time().value(),
                                      keepalive.keepalive_interval().value()};
  }
  config.istio_config = istio_config(proto.metadata());
  config.istio = istio_of(proto.metadata());
  config.stats = cluster_stats(config.stat_name, context.stats);
  auto dns = dns_settings(proto);
  if (!dns) return dns.error();
  out.dns = std::move(*dns);
  if (config.type == ClusterType::kStatic) {
    auto set = endpoints(proto.load_assignment(), config.sockets);
    if (!set) return in("load_assignment", set.error());
    out.endpoints = std::move(*set);
  } else if (config.type == ClusterType::kStrictDns || config.type == ClusterType::kLogicalDns) {
    auto targets = dns_targets(proto, out);
    if (!targets) return in("load_assignment", targets.error());
    if (out.dns_targets.empty()) return error("load_assignment: a DNS cluster needs an endpoint");
  }
  return out;
}

}  // namespace pinnace::compile
