// virtualInbound: everything that reaches the workload. Chains per port and mTLS mode, catch-alls for other ports.
#include <fmt/format.h>

#include "translator/translate/inbound_ports.h"
#include "translator/translate/inspectors.h"
#include "translator/translate/listeners.h"
#include "translator/translate/proto.h"
#include "translator/translate/routes.h"
#include "translator/translate/tls_contexts.h"

namespace pinnace::translator {
namespace {

struct ChainKind {
  const char* transport;
  std::vector<const char*> alpn;
  bool http, terminate;
};

// What a port takes, by mode; "sniffed" covers unnamed ports and ports no service knows.
std::vector<ChainKind> chain_kinds(MtlsMode mode, Protocol protocol) {
  static const std::vector<const char*> kIstioHttp = {"istio-http/1.0", "istio-http/1.1", "istio-h2"};
  static const std::vector<const char*> kIstioTcp = {"istio-peer-exchange", "istio"};
  static const std::vector<const char*> kIstioAll = {"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1",
                                                     "istio-h2"};
  static const std::vector<const char*> kPlainHttp = {"http/1.1", "h2c"};
  bool http = is_http(protocol), sniffed = protocol == Protocol::kAuto;
  switch (mode) {
    case MtlsMode::kStrict:
      if (sniffed) return {{"tls", kIstioHttp, true, true}, {"tls", {}, false, true}};
      return {{"tls", {}, http, true}};
    case MtlsMode::kDisable:
      // Nothing looks for TLS there, so that the application's own passes as plain bytes.
      if (sniffed) return {{"raw_buffer", kPlainHttp, true, false}, {"raw_buffer", {}, false, false}};
      return {{"raw_buffer", {}, http, false}};
    default: break;
  }
  if (sniffed)
    return {{"tls", kIstioHttp, true, true},
            {"raw_buffer", kPlainHttp, true, false},
            {"tls", kIstioTcp, false, true},
            {"raw_buffer", {}, false, false},
            {"tls", {}, false, false}};
  if (http) return {{"tls", kIstioAll, true, true}, {"raw_buffer", {}, true, false}};
  return {{"tls", kIstioAll, false, true}, {"tls", {}, false, false}, {"raw_buffer", {}, false, false}};
}

struct Target {
  uint32_t port = 0, service_port = 0;  // 0: any port no other chain names
  Protocol protocol = Protocol::kAuto;
  std::string cluster, host;
};

void add_chains(const MeshState& state, const Target& to, MtlsMode mode, Listener* listener) {
  auto& config = state.config();
  bool passthrough = to.cluster == kInboundPassthroughCluster;
  for (auto& kind : chain_kinds(mode, to.protocol)) {
    auto* chain = listener->add_filter_chains();
    auto* match = chain->mutable_filter_chain_match();
    if (to.port) match->mutable_destination_port()->set_value(to.port);
    match->set_transport_protocol(kind.transport);
    for (auto alpn : kind.alpn) match->add_application_protocols(alpn);
    if (kind.http) {
      auto routes = inbound_routes(to.cluster, passthrough ? to.port : to.service_port, to.host, !is_grpc(to.protocol));
      auto prefix = passthrough ? std::string(kInboundPassthroughCluster) : fmt::format("inbound_0.0.0.0_{}", to.port);
      bool grpc_web = to.protocol == Protocol::kGrpcWeb;
      add_http_manager(config, {HttpRole::kInbound, prefix, "", &routes, is_http2(to.protocol), grpc_web}, chain);
    } else {
      add_tcp_proxy(config, to.cluster, chain);
    }
    if (kind.terminate) set_inbound_tls(chain->mutable_transport_socket(), config.trust_domain, kind.http);
    if (!passthrough) chain->set_name(fmt::format("0.0.0.0_{}", to.port));
    else chain->set_name(kind.http ? "virtualInbound-catchall-http" : "virtualInbound");
  }
}

}  // namespace

Listener virtual_inbound(const MeshState& state, const ProxyFacts& proxy) {
  auto& config = state.config();
  auto out = new_listener("virtualInbound", "0.0.0.0", 15006);
  set_duration(out.mutable_listener_filters_timeout(), config.protocol_detection_timeout);
  out.set_continue_on_listener_filters_timeout(true);
  out.set_traffic_direction(envoy::config::core::v3::INBOUND);
  out.mutable_max_connections_to_accept_per_socket_event()->set_value(1);
  add_listener_access_log(config, &out);

  auto* guard = out.add_filter_chains();
  guard->set_name("virtualInbound-blackhole");
  guard->mutable_filter_chain_match()->mutable_destination_port()->set_value(15006);
  add_tcp_proxy(config, TcpOptions{kBlackHoleCluster, {{kBlackHoleCluster, 0}}, false, std::nullopt}, guard);
  add_chains(state, {0, 0, Protocol::kAuto, kInboundPassthroughCluster, ""}, state.mtls_mode(*proxy.pod, 0), &out);

  auto ports = inbound_ports(state, *proxy.pod);
  // Ports that a PeerAuthentication singles out and no service knows need chains of their own mode.
  for (auto& [number, mode] : state.mtls_port_modes(*proxy.pod)) {
    bool known = false;
    for (auto& port : ports) known = known || port.target_port == number;
    if (!known) add_chains(state, {number, number, Protocol::kAuto, kInboundPassthroughCluster, ""}, mode, &out);
  }
  for (auto& port : ports) {
    auto mode = state.mtls_mode(*proxy.pod, port.target_port);
    add_chains(
        state,
        {port.target_port, port.service_port, port.protocol, inbound_cluster(port.target_port), port.services[0]->host},
        mode, &out);
  }
  add_original_dst(&out);
  add_needed_inspectors(&out);
  return out;
}

}  // namespace pinnace::translator
