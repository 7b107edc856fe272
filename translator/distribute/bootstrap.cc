#include "translator/distribute/bootstrap.h"

#include <fmt/format.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

namespace pinnace::translator {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

// The part that is the same for every pod, but for the socket: @SOCKET@.
constexpr char kFixed[] = R"json({
  "admin": {
    "access_log": [],
    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}
  },
  "dynamic_resources": {
    "lds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
    "cds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
    "ads_config": {
      "api_type": "DELTA_GRPC",
      "set_node_on_first_message_only": true,
      "transport_api_version": "V3",
      "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]
    }
  },
  "static_resources": {
    "clusters": [
      {
        "name": "prometheus_stats", "alt_stat_name": "prometheus_stats;", "type": "STATIC", "connect_timeout": "0.250s",
        "load_assignment": {"cluster_name": "prometheus_stats", "endpoints": [{"lb_endpoints": [{"endpoint": {
          "address": {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}}}]}]}
      },
      {
        "name": "agent", "alt_stat_name": "agent;", "type": "STATIC", "connect_timeout": "0.250s",
        "load_assignment": {"cluster_name": "agent", "endpoints": [{"lb_endpoints": [{"endpoint": {
          "address": {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}}}]}]}
      },
      {
        "name": "sds-grpc", "alt_stat_name": "sds-grpc;", "type": "STATIC", "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
          "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
          "explicit_http_config": {"http2_protocol_options": {}}}},
        "load_assignment": {"cluster_name": "sds-grpc", "endpoints": [{"lb_endpoints": [{"endpoint": {
          "address": {"pipe": {"path": "@SOCKET@"}}}}]}]}
      },
      {
        "name": "xds-grpc", "alt_stat_name": "xds-grpc;", "type": "STATIC", "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
          "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
          "explicit_http_config": {"http2_protocol_options": {}}}},
        "circuit_breakers": {"thresholds": [
          {"priority": "DEFAULT", "max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000},
          {"priority": "HIGH", "max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}]},
        "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [{"endpoint": {
          "address": {"pipe": {"path": "@SOCKET@"}}}}]}]}
      }
    ],
    "listeners": [
      {
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15090}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
  "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
          "codec_type": "AUTO", "stat_prefix": "stats",
          "route_config": {"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [
            {"match": {"prefix": "/stats/prometheus"}, "route": {"cluster": "prometheus_stats"}}]}]},
          "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]
      },
      {
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15021}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
  "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
          "codec_type": "AUTO", "stat_prefix": "agent",
          "route_config": {"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [
            {"match": {"prefix": "/healthz/ready"}, "route": {"cluster": "agent", "prefix_rewrite": "/ready"}}]}]},
          "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]
      }
    ]
  }
})json";

Value text(const std::string& value) {
  Value out;
  out.set_string_value(value);
  return out;
}

Struct node_of(const MeshState& state, const ProxyFacts& proxy) {
  auto& pod = *proxy.pod;
  auto& config = state.config();
  Struct metadata;
  auto& fields = *metadata.mutable_fields();
  fields["NAME"] = text(pod.meta.name);
  fields["NAMESPACE"] = text(pod.meta.ns);
  fields["CLUSTER_ID"] = text("Kubernetes");
  fields["MESH_ID"] = text(config.trust_domain);
  fields["INSTANCE_IPS"] = text(pod.ip);
  fields["INTERCEPTION_MODE"] = text("REDIRECT");
  fields["SERVICE_ACCOUNT"] = text(pod.service_account);
  fields["WORKLOAD_NAME"] = text(workload_name(pod));
  fields["APP_CONTAINERS"] = text(pod.app_container);
  fields["ISTIO_VERSION"] = text("1.31.0");
  auto& labels = *fields["LABELS"].mutable_struct_value()->mutable_fields();
  for (auto& [name, value] : pod.meta.labels) labels[name] = text(value);
  Struct node;
  (*node.mutable_fields())["id"] = text(proxy.node_id(config.domain));
  (*node.mutable_fields())["cluster"] = text(canonical_name(pod) + "." + pod.meta.ns);
  (*node.mutable_fields())["locality"].mutable_struct_value();
  *(*node.mutable_fields())["metadata"].mutable_struct_value() = metadata;
  return node;
}

void replace_all(std::string& text, std::string_view from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

}  // namespace

std::string make_bootstrap(const MeshState& state, const ProxyFacts& proxy, const std::string& socket) {
  std::string fixed = kFixed, quoted, out;
  // A path may hold what JSON must escape: let the printer do it.
  (void)google::protobuf::util::MessageToJsonString(text(socket), &quoted);
  replace_all(fixed, "\"@SOCKET@\"", quoted);
  Struct bootstrap;
  (void)google::protobuf::util::JsonStringToMessage(fixed, &bootstrap);
  *(*bootstrap.mutable_fields())["node"].mutable_struct_value() = node_of(state, proxy);
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  (void)google::protobuf::util::MessageToJsonString(bootstrap, &out, options);
  return out;
}

}  // namespace pinnace::translator
