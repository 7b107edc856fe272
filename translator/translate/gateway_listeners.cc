// What a router listens on: plain HTTP, TLS by server name (terminated or passed through), and TCP.
#include <fmt/format.h>

#include "translator/translate/gateway_plan.h"
#include "translator/translate/listeners.h"
#include "translator/translate/outbound_plan.h"
#include "translator/translate/tls_contexts.h"

namespace pinnace::translator {
namespace {

void add_server_names(const std::vector<std::string>& hosts, FilterChain* chain) {
  // "*" is no name but the absence of a condition.
  for (auto& host : hosts)
    if (host == "*") return;
  for (auto& host : hosts) chain->mutable_filter_chain_match()->add_server_names(host);
}

FilterChain l4_chain(const MeshConfig& config, const OutboundChain& from) {
  FilterChain out;
  TcpOptions options{from.stat_prefix, {}, true, std::nullopt};
  for (auto& [cluster, weight] : from.clusters) options.clusters.push_back({cluster, weight});
  add_tcp_proxy(config, options, &out);
  set_handshake_limit(&out);
  return out;
}

void add_l4(const MeshState& state, const ProxyFacts& proxy, const GatewayBinding& binding, Listener* listener) {
  auto& server = *binding.server;
  bool passthrough = server.tls && server.tls->mode == ServerTls::Mode::kPassthrough;
  for (auto* rule : gateway_rules(state, proxy, binding.name())) {
    if (admitted_hosts(state, *rule, binding).empty()) continue;
    RuleScope scope{&proxy, binding.name(), server.port};
    for (auto& from : l4_rule_chains(state, passthrough ? rule->tls : rule->tcp, *rule, scope)) {
      auto chain = l4_chain(state.config(), from);
      if (passthrough) {
        add_server_names(from.server_names, &chain);
      } else if (server.tls) {
        add_server_names(server_hosts(server), &chain);
        set_gateway_tls(chain.mutable_transport_socket(), *server.tls, false);
      }
      *listener->add_filter_chains() = std::move(chain);
    }
  }
}

}  // namespace

std::vector<Listener> gateway_listeners(const MeshState& state, const ProxyFacts& proxy) {
  std::vector<Listener> out;
  auto& config = state.config();
  for (auto& port : gateway_plan(state, proxy)) {
    auto listener = new_listener(fmt::format("0.0.0.0_{}", port.port), "0.0.0.0", port.port);
    listener.set_traffic_direction(envoy::config::core::v3::OUTBOUND);
    listener.mutable_max_connections_to_accept_per_socket_event()->set_value(1);
    add_listener_access_log(config, &listener);
    auto prefix = fmt::format("outbound_0.0.0.0_{}", port.port);
    if (port.plain_http()) {
      auto* chain = listener.add_filter_chains();
      HttpOptions options{HttpRole::kGateway, prefix, fmt::format("http.{}", port.port)};
      options.grpc_web = port.bindings[0].server->protocol == Protocol::kGrpcWeb;
      add_http_manager(config, options, chain);
      set_handshake_limit(chain);
    } else {
      bool tls = false;
      for (auto& binding : port.bindings) {
        tls = tls || binding.server->tls;
        if (!binding.secure_http()) {
          add_l4(state, proxy, binding, &listener);
          continue;
        }
        auto* chain = listener.add_filter_chains();
        add_server_names(server_hosts(*binding.server), chain);
        add_http_manager(config, {HttpRole::kGateway, prefix, binding.https_route()}, chain);
        set_gateway_tls(chain->mutable_transport_socket(), *binding.server->tls, true);
        set_handshake_limit(chain);
      }
      if (tls) add_tls_inspector(&listener);
    }
    if (listener.filter_chains_size() > 0) out.push_back(std::move(listener));
  }
  return out;
}

}  // namespace pinnace::translator
