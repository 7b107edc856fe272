#include "translator/translate/listeners.h"

#include <fmt/format.h>

#include "translator/translate/outbound_plan.h"
#include "translator/translate/proto.h"

namespace pinnace::translator {
namespace {

namespace core = envoy::config::core::v3;

const char* passthrough_or_hole(const MeshConfig& config) {
  return config.registry_only ? kBlackHoleCluster : kPassthroughCluster;
}

Listener virtual_outbound(const MeshConfig& config) {
  auto out = new_listener("virtualOutbound", "0.0.0.0", 15001);
  out.mutable_use_original_dst()->set_value(true);
  out.set_traffic_direction(core::OUTBOUND);
  out.mutable_max_connections_to_accept_per_socket_event()->set_value(1);
  add_listener_access_log(config, &out);
  // Someone dials the port itself: without this chain the proxy would dial itself for ever.
  auto* guard = out.add_filter_chains();
  guard->set_name("virtualOutbound-blackhole");
  guard->mutable_filter_chain_match()->mutable_destination_port()->set_value(15001);
  add_tcp_proxy(config, TcpOptions{kBlackHoleCluster, {{kBlackHoleCluster, 0}}, false, std::nullopt}, guard);
  auto* rest = out.add_filter_chains();
  rest->set_name("virtualOutbound-catchall-tcp");
  add_tcp_proxy(config, passthrough_or_hole(config), rest);
  return out;
}

void set_range(const std::string& text, core::CidrRange* range) {
  size_t slash = text.find('/');
  range->set_address_prefix(text.substr(0, slash));
  uint32_t length = 32;
  if (slash != std::string::npos) length = static_cast<uint32_t>(std::atoi(text.c_str() + slash + 1));
  range->mutable_prefix_len()->set_value(length);
}

FilterChain tcp_chain(const MeshConfig& config, const OutboundChain& from) {
  FilterChain out;
  for (auto& name : from.server_names) out.mutable_filter_chain_match()->add_server_names(name);
  for (auto& range : from.prefix_ranges) set_range(range, out.mutable_filter_chain_match()->add_prefix_ranges());
  TcpOptions options{from.stat_prefix, {}, true, from.idle_timeout};
  for (auto& [cluster, weight] : from.clusters) options.clusters.push_back({cluster, weight});
  add_tcp_proxy(config, options, &out);
  if (from.rule) set_config_metadata(out.mutable_metadata(), "virtual-service", from.rule->meta);
  set_handshake_limit(&out);
  return out;
}

FilterChain http_chain(const MeshConfig& config, const OutboundListener& from) {
  FilterChain out;
  out.mutable_filter_chain_match()->set_transport_protocol("raw_buffer");
  for (auto alpn : {"http/1.1", "h2c"}) out.mutable_filter_chain_match()->add_application_protocols(alpn);
  HttpOptions options{HttpRole::kOutbound, fmt::format("outbound_{}_{}", from.address, from.port), from.route};
  options.grpc_web = from.grpc_web;
  add_http_manager(config, options, &out);
  set_handshake_limit(&out);
  return out;
}

Listener outbound(const MeshConfig& config, const OutboundListener& from) {
  auto out = new_listener(fmt::format("{}_{}", from.address, from.port), from.address, from.port);
  // Only what looks for HTTP gives up waiting for the client.
  set_duration(out.mutable_listener_filters_timeout(),
               from.route.empty() ? Duration(0) : config.protocol_detection_timeout);
  out.set_continue_on_listener_filters_timeout(true);
  out.set_traffic_direction(core::OUTBOUND);
  out.mutable_bind_to_port()->set_value(false);
  bool names = false;
  for (auto& chain : from.chains) names = names || !chain.server_names.empty();
  if (names) add_tls_inspector(&out);
  if (!from.route.empty()) add_http_inspector(&out);
  const OutboundChain* all = nullptr;
  for (size_t i = 0; i <= from.chains.size(); i++) {
    if (i == from.route_at && !from.route.empty()) *out.add_filter_chains() = http_chain(config, from);
    if (i == from.chains.size()) break;
    if (from.chains[i].matches_all()) all = &from.chains[i];
    else *out.add_filter_chains() = tcp_chain(config, from.chains[i]);
  }
  if (all && out.filter_chains_size() == 0) {
    *out.add_filter_chains() = tcp_chain(config, *all);
  } else if (all) {
    *out.mutable_default_filter_chain() = tcp_chain(config, *all);
  } else {
    auto* rest = out.mutable_default_filter_chain();
    rest->set_name("PassthroughFilterChain");
    rest->mutable_filter_chain_match();
    add_tcp_proxy(config, passthrough_or_hole(config), rest);
  }
  return out;
}

}  // namespace

Listener new_listener(const std::string& name, const std::string& address, uint32_t port) {
  Listener out;
  out.set_name(name);
  set_address(out.mutable_address(), address, port);
  return out;
}

std::vector<Listener> translate_listeners(const MeshState& state, const ProxyFacts& proxy) {
  if (proxy.router) return gateway_listeners(state, proxy);
  std::vector<Listener> out;
  for (auto& listener : outbound_plan(state, proxy)) out.push_back(outbound(state.config(), listener));
  out.push_back(virtual_outbound(state.config()));
  out.push_back(virtual_inbound(state, proxy));
  return out;
}

}  // namespace pinnace::translator
