#include "translator/translate/clusters.h"

#include <fmt/format.h>

#include "envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver.pb.h"
#include "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.pb.h"
#include "envoy/extensions/upstreams/http/v3/http_protocol_options.pb.h"
#include "translator/translate/endpoints.h"
#include "translator/translate/inbound_ports.h"
#include "translator/translate/proto.h"
#include "translator/translate/tls_contexts.h"

namespace pinnace::translator {
namespace {

namespace core = envoy::config::core::v3;
using envoy::config::cluster::v3::Cluster;
using HttpOptions = envoy::extensions::upstreams::http::v3::HttpProtocolOptions;

constexpr uint32_t kUnlimited = 0xffffffffu;

Cluster new_cluster(const MeshState& state, const std::string& name) {
  Cluster cluster;
  cluster.set_name(name);
  cluster.set_alt_stat_name(name + ";");
  set_duration(cluster.mutable_connect_timeout(), state.config().connect_timeout);
  return cluster;
}

auto* set_unlimited(Cluster& cluster) {
  auto* threshold = cluster.mutable_circuit_breakers()->add_thresholds();
  threshold->mutable_max_connections()->set_value(kUnlimited);
  threshold->mutable_max_pending_requests()->set_value(kUnlimited);
  threshold->mutable_max_requests()->set_value(kUnlimited);
  threshold->mutable_max_retries()->set_value(kUnlimited);
  return threshold;
}

void set_http_options(Cluster& cluster, const HttpOptions& options) {
  pack(
      options,
      &(*cluster.mutable_typed_extension_protocol_options())["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]);
}

// The address that the redirection rules let through to the application.
void set_inbound_source(Cluster& cluster) {
  auto* address = cluster.mutable_upstream_bind_config()->mutable_source_address();
  address->set_address("127.0.0.6");
  address->set_port_value(0);
}

void set_original_dst(Cluster& cluster) {
  cluster.set_type(Cluster::ORIGINAL_DST);
  cluster.set_lb_policy(Cluster::CLUSTER_PROVIDED);
}

Cluster passthrough(const MeshState& state, const std::string& name) {
  auto cluster = new_cluster(state, name);
  cluster.set_alt_stat_name("PassthroughCluster;");  // ENVOY: both carry the same statistics name, as istiod has it
  set_original_dst(cluster);
  set_unlimited(cluster);
  HttpOptions options;
  options.mutable_common_http_protocol_options()->mutable_idle_timeout()->set_seconds(300);
  options.mutable_use_downstream_protocol_config()->mutable_http_protocol_options();
  options.mutable_use_downstream_protocol_config()->mutable_http2_protocol_options();
  set_http_options(cluster, options);
  return cluster;
}

void add_service(core::Metadata* metadata, const MeshService& service) {
  auto& istio = (*metadata->mutable_filter_metadata())["istio"];
  auto& fields = *(*istio.mutable_fields())["services"]
                      .mutable_list_value()
                      ->add_values()
                      ->mutable_struct_value()
                      ->mutable_fields();
  fields["host"].set_string_value(service.host);
  fields["name"].set_string_value(service.name);
  fields["namespace"].set_string_value(service.ns);
}

auto& istio_field(Cluster& cluster, const char* key) {
  return (*(*cluster.mutable_metadata()->mutable_filter_metadata())["istio"].mutable_fields())[key];
}

void set_load_balancing(Cluster& cluster, const TrafficPolicy& policy) {
  switch (policy.load_balancer.value_or(LbPolicy::kLeastRequest)) {
    case LbPolicy::kRoundRobin: cluster.set_lb_policy(Cluster::ROUND_ROBIN); break;
    case LbPolicy::kRandom: cluster.set_lb_policy(Cluster::RANDOM); break;
    case LbPolicy::kLeastRequest: cluster.set_lb_policy(Cluster::LEAST_REQUEST); break;
  }
}

void set_dns(Cluster& cluster) {
  cluster.set_type(Cluster::STRICT_DNS);
  cluster.set_dns_lookup_family(Cluster::V4_ONLY);
  cluster.mutable_dns_refresh_rate()->set_seconds(60);
  cluster.mutable_dns_jitter()->set_nanos(100000000);
  cluster.set_respect_dns_ttl(true);
  envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig cares;
  cares.mutable_udp_max_queries()->set_value(100);
  cluster.mutable_typed_dns_resolver_config()->set_name("envoy.network.dns_resolver.cares");
  pack(cares, cluster.mutable_typed_dns_resolver_config()->mutable_typed_config());
}

void set_connection_pool(Cluster& cluster, const ConnectionPool& pool) {
  auto* threshold = cluster.mutable_circuit_breakers()->mutable_thresholds(0);
  if (pool.max_connections) threshold->mutable_max_connections()->set_value(*pool.max_connections);
  if (pool.max_pending_requests) threshold->mutable_max_pending_requests()->set_value(*pool.max_pending_requests);
  if (pool.max_requests) threshold->mutable_max_requests()->set_value(*pool.max_requests);
  if (pool.max_retries) threshold->mutable_max_retries()->set_value(*pool.max_retries);
  if (pool.connect_timeout) set_duration(cluster.mutable_connect_timeout(), *pool.connect_timeout);
  if (!pool.keepalive) return;
  auto* keepalive = cluster.mutable_upstream_connection_options()->mutable_tcp_keepalive();
  auto seconds = [](Duration d) {
    return static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(d).count());
  };
  if (pool.keepalive_probes) keepalive->mutable_keepalive_probes()->set_value(*pool.keepalive_probes);
  if (pool.keepalive_time) keepalive->mutable_keepalive_time()->set_value(seconds(*pool.keepalive_time));
  if (pool.keepalive_interval) keepalive->mutable_keepalive_interval()->set_value(seconds(*pool.keepalive_interval));
}

// The protocol spoken to the endpoints; without options it is HTTP/1.1.
void set_protocol(Cluster& cluster, Protocol protocol, bool sniff, const ConnectionPool& pool,
                  const ClientTls* origination, const std::vector<std::string>& sans) {
  bool http2 = is_http2(protocol), downstream = protocol == Protocol::kAuto && sniff;
  bool auto_sni = origination && origination->sni.empty();
  if (!http2 && !downstream && !pool.http_options && !auto_sni) return;
  HttpOptions options;
  if (pool.http_idle_timeout)
    set_duration(options.mutable_common_http_protocol_options()->mutable_idle_timeout(), *pool.http_idle_timeout);
  if (pool.max_requests_per_connection)
    options.mutable_common_http_protocol_options()->mutable_max_requests_per_connection()->set_value(
        *pool.max_requests_per_connection);
  if (pool.max_connection_duration)
    set_duration(options.mutable_common_http_protocol_options()->mutable_max_connection_duration(),
                 *pool.max_connection_duration);
  if (auto_sni) {
    options.mutable_upstream_http_protocol_options()->set_auto_sni(true);
    options.mutable_upstream_http_protocol_options()->set_auto_san_validation(
        !origination->insecure_skip_verify && origination->subject_alt_names.empty() && sans.empty());
  }
  envoy::config::core::v3::Http2ProtocolOptions h2;
  if (pool.max_concurrent_streams) h2.mutable_max_concurrent_streams()->set_value(*pool.max_concurrent_streams);
  if (http2) {
    *options.mutable_explicit_http_config()->mutable_http2_protocol_options() = h2;
  } else if (downstream) {
    options.mutable_use_downstream_protocol_config()->mutable_http_protocol_options();
    *options.mutable_use_downstream_protocol_config()->mutable_http2_protocol_options() = h2;
  } else {
    options.mutable_explicit_http_config()->mutable_http_protocol_options();
  }
  set_http_options(cluster, options);
}

// Auto mTLS: TLS towards endpoints that say they take it, plain text towards the others.
void add_socket_matches(Cluster& cluster, const MeshService& service, const std::string& sni, bool http2) {
  auto* istio = cluster.add_transport_socket_matches();
  istio->set_name("tlsMode-istio");
  (*istio->mutable_match()->mutable_fields())["tlsMode"].set_string_value("istio");
  set_istio_upstream_tls(istio->mutable_transport_socket(), service.identities, sni, http2);
  auto* disabled = cluster.add_transport_socket_matches();
  disabled->set_name("tlsMode-disabled");
  disabled->mutable_match();
  disabled->mutable_transport_socket()->set_name("envoy.transport_sockets.raw_buffer");
  pack(envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer(),
       disabled->mutable_transport_socket()->mutable_typed_config());
}

void set_transport(Cluster& cluster, const MeshState& state, const MeshService& service, const MeshPort& port,
                   std::string_view subset, const TrafficPolicy& policy) {
  bool http2 = is_http2(port.protocol);
  auto sni = fmt::format("outbound_.{}_.{}_.{}", port.number, subset, service.host);
  if (!policy.tls) {
    if (!auto_mtls(state, service)) return;
    if (cluster.type() == Cluster::ORIGINAL_DST)  // no endpoint metadata to match on
      set_istio_upstream_tls(cluster.mutable_transport_socket(), service.identities, sni, http2);
    else add_socket_matches(cluster, service, sni, http2);
    return;
  }
  auto& tls = *policy.tls;
  if (tls.mode == ClientTls::Mode::kDisable) return;
  if (tls.mode == ClientTls::Mode::kIstioMutual) {
    auto& sans = tls.subject_alt_names.empty() ? service.identities : tls.subject_alt_names;
    set_istio_upstream_tls(cluster.mutable_transport_socket(), sans, tls.sni.empty() ? sni : tls.sni, http2);
    return;
  }
  set_origination_tls(cluster.mutable_transport_socket(), tls, service.subject_alt_names, http2);
  istio_field(cluster, "alpn_override").set_string_value("false");
}

Cluster outbound(const MeshState& state, const ProxyFacts& proxy, const MeshService& service, size_t port_index,
                 const DestinationRule* rule, const Subset* subset) {
  auto& port = service.ports[port_index];
  std::string subset_name = subset ? subset->name : "";
  auto name = outbound_cluster(port.number, subset_name, service.host);
  auto policy = effective_policy(rule, subset, port.number);
  auto cluster = new_cluster(state, name);
  set_unlimited(cluster);
  cluster.mutable_common_lb_config()->mutable_healthy_panic_threshold();
  bool original = service.kind == MeshService::Kind::kNone || service.kind == MeshService::Kind::kHeadless;
  if (service.kind == MeshService::Kind::kDns) {
    set_dns(cluster);
    *cluster.mutable_load_assignment() = translate_endpoints(service, port_index, subset, name);
    set_load_balancing(cluster, policy);
  } else if (original && !proxy.router) {  // a gateway has no original destination
    set_original_dst(cluster);
  } else {
    cluster.set_type(Cluster::EDS);
    set_ads(cluster.mutable_eds_cluster_config()->mutable_eds_config());
    cluster.mutable_eds_cluster_config()->set_service_name(name);
    set_load_balancing(cluster, policy);
  }
  ConnectionPool none;
  auto& pool = policy.connection_pool ? *policy.connection_pool : none;
  set_connection_pool(cluster, pool);
  bool originates =
      policy.tls && (policy.tls->mode == ClientTls::Mode::kSimple || policy.tls->mode == ClientTls::Mode::kMutual);
  set_protocol(cluster, port.protocol, !proxy.router, pool, originates ? &*policy.tls : nullptr,
               service.subject_alt_names);
  add_service(cluster.mutable_metadata(), service);
  if (service.external) istio_field(cluster, "external").set_bool_value(true);
  if (rule) set_config_metadata(cluster.mutable_metadata(), "destination-rule", rule->meta);
  if (subset) istio_field(cluster, "subset").set_string_value(subset->name);
  set_transport(cluster, state, service, port, subset_name, policy);
  return cluster;
}

// Connection limits of the service's rule hold on both sides: the client's per client, these for all of them.
Cluster inbound(const MeshState& state, const ProxyFacts& proxy, const InboundPort& port) {
  auto cluster = new_cluster(state, inbound_cluster(port.target_port));
  set_original_dst(cluster);
  set_unlimited(cluster);
  cluster.mutable_common_lb_config();
  // ENVOY: practically never, the longest duration istiod can express.
  cluster.mutable_cleanup_interval()->set_seconds(9223372035);
  set_inbound_source(cluster);
  auto* rule = state.destination_rule(*port.services[0], proxy.ns());
  auto pool = effective_policy(rule, nullptr, port.service_port).connection_pool.value_or(ConnectionPool{});
  set_connection_pool(cluster, pool);
  set_protocol(cluster, port.protocol, true, pool, nullptr, {});
  if (rule) set_config_metadata(cluster.mutable_metadata(), "destination-rule", rule->meta);
  for (auto* service : port.services) add_service(cluster.mutable_metadata(), *service);
  return cluster;
}

}  // namespace

TrafficPolicy effective_policy(const DestinationRule* rule, const Subset* subset, uint32_t port) {
  TrafficPolicy out;
  if (!rule) return out;
  // A port's settings replace the whole policy of their level: what they leave out falls to the default, not to it.
  auto apply = [&](const TrafficPolicy& level) {
    if (level.load_balancer) out.load_balancer = level.load_balancer;
    if (level.connection_pool) out.connection_pool = level.connection_pool;
    if (level.tls) out.tls = level.tls;
    if (auto own = level.ports.find(port); own != level.ports.end()) out = own->second;
  };
  apply(rule->policy);
  if (subset) apply(subset->policy);
  return out;
}

bool auto_mtls(const MeshState& state, const MeshService& service) {
  if (!state.config().auto_mtls || service.external) return false;
  if (service.kind == MeshService::Kind::kNone) return false;
  if (service.kind != MeshService::Kind::kHeadless) return true;
  // Dialled by address: all endpoints must take TLS, for there is none to ask.
  for (auto& endpoint : service.endpoints)
    if (!endpoint.mtls) return false;
  return !service.endpoints.empty();
}

std::vector<Cluster> translate_clusters(const MeshState& state, const ProxyFacts& proxy) {
  std::vector<Cluster> out;
  for (auto& service : state.services()) {
    if (!service.visible_to(proxy.ns())) continue;
    auto* rule = state.destination_rule(service, proxy.ns());
    for (size_t i = 0; i < service.ports.size(); i++) {
      if (service.ports[i].protocol == Protocol::kUdp) continue;
      out.push_back(outbound(state, proxy, service, i, rule, nullptr));
      if (!rule) continue;
      for (auto& subset : rule->subsets) out.push_back(outbound(state, proxy, service, i, rule, &subset));
    }
  }
  auto hole = new_cluster(state, kBlackHoleCluster);
  hole.set_type(Cluster::STATIC);
  out.push_back(std::move(hole));
  if (proxy.router) return out;
  out.push_back(passthrough(state, kPassthroughCluster));
  for (auto& port : inbound_ports(state, *proxy.pod)) out.push_back(inbound(state, proxy, port));
  out.push_back(passthrough(state, kInboundPassthroughCluster));
  set_inbound_source(out.back());
  return out;
}

}  // namespace pinnace::translator
