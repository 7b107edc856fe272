#include "translator/translate/outbound_plan.h"

#include <algorithm>
#include <map>
#include <set>

#include "translator/translate/clusters.h"
#include "translator/translate/http_routes.h"
#include "translator/translate/proto.h"
#include "translator/translate/routes.h"

namespace pinnace::translator {
namespace {

constexpr char kAny[] = "0.0.0.0";

// The addresses of a port that is not plain HTTP: its VIP, each pod of a headless service, else any.
std::vector<std::string> binds_of(const MeshService& service, const ProxyFacts& proxy) {
  std::vector<std::string> out;
  if (service.kind == MeshService::Kind::kHeadless) {
    std::set<std::string> unique;
    for (auto& endpoint : service.endpoints)
      if (endpoint.address != proxy.pod->ip && endpoint.address.find(':') == std::string::npos)
        unique.insert(endpoint.address);
    return {unique.begin(), unique.end()};
  }
  for (auto& address : service.addresses)
    if (address.find('/') == std::string::npos && address.find(':') == std::string::npos) out.push_back(address);
  bool ranges = std::any_of(service.addresses.begin(), service.addresses.end(),
                            [](auto& address) { return address.find('/') != std::string::npos; });
  if (out.empty() || ranges) out.push_back(kAny);
  return out;
}

bool rule_names(const MeshState& state, const VirtualService& rule, const std::string& host) {
  return std::any_of(rule.hosts.begin(), rule.hosts.end(),
                     [&](auto& pattern) { return host_matches(state.resolve_host(pattern, rule.meta.ns), host); });
}

std::vector<OutboundChain> chains_of(const MeshState& state, const ProxyFacts& proxy, const MeshService& service,
                                     const MeshPort& port, const std::string& bind,
                                     const std::vector<const VirtualService*>& rules) {
  std::vector<OutboundChain> out;
  bool tls = is_tls(port.protocol);
  std::vector<std::string> ranges;
  if (bind == kAny)
    for (auto& address : service.addresses)
      if (address.find('/') != std::string::npos) ranges.push_back(address);
  for (auto* rule : rules) {
    if (!rule_names(state, *rule, service.host)) continue;
    for (auto& chain : l4_rule_chains(state, tls ? rule->tls : rule->tcp, *rule, {&proxy, "mesh", port.number})) {
      if (chain.prefix_ranges.empty()) chain.prefix_ranges = ranges;
      out.push_back(std::move(chain));
    }
  }
  if (!out.empty()) return out;
  OutboundChain chain;
  auto cluster = outbound_cluster(port.number, "", service.host);
  chain.clusters = {{cluster, 0}};
  chain.stat_prefix = cluster;
  chain.prefix_ranges = ranges;
  // On a shared address only the name tells TLS services apart.
  if (tls && bind == kAny) chain.server_names = {service.host};
  auto policy = effective_policy(state.destination_rule(service, proxy.ns()), nullptr, port.number);
  if (policy.connection_pool) chain.idle_timeout = policy.connection_pool->tcp_idle_timeout;
  out.push_back(std::move(chain));
  return out;
}

// An inspector waits for the client, so that a protocol whose server speaks first shares its address with none but
// itself.
bool may_share(Protocol there, Protocol coming) {
  return there == coming || (!is_server_first(there) && !is_server_first(coming));
}

void set_route(OutboundListener& listener, const MeshService& service, Protocol protocol) {
  if (!listener.route.empty()) return;
  listener.grpc_web = protocol == Protocol::kGrpcWeb;
  listener.route_at = listener.chains.size();
  listener.route = std::to_string(listener.port);
  if (listener.address == kAny) return;
  listener.route = sniffed_route_name(service, listener.port);
  listener.sniffed_service = &service;
}

void add_chains(OutboundListener& listener, std::vector<OutboundChain> chains) {
  for (auto& chain : chains) {
    // Two chains that take the same connections cannot stand side by side: the first service keeps the place.
    bool clash = std::any_of(listener.chains.begin(), listener.chains.end(), [&](auto& known) {
      return known.server_names == chain.server_names && known.prefix_ranges == chain.prefix_ranges;
    });
    if (!clash) listener.chains.push_back(std::move(chain));
  }
}

}  // namespace

std::vector<OutboundChain> l4_rule_chains(const MeshState& state, const std::vector<L4Route>& routes,
                                          const VirtualService& rule, const RuleScope& scope) {
  std::vector<OutboundChain> out;
  for (auto& route : routes) {
    OutboundChain base;
    base.rule = &rule;
    for (auto& one : route.destinations)
      base.clusters.emplace_back(destination_cluster(state, rule, one.destination, scope), one.weight);
    base.stat_prefix = base.clusters.size() == 1
                           ? base.clusters[0].first
                           : state.resolve_host(route.destinations[0].destination.host, rule.meta.ns);
    if (route.matches.empty()) {
      out.push_back(base);
      return out;
    }
    for (auto& match : route.matches) {
      if (!matches_scope(match, rule, scope)) continue;
      auto chain = base;
      chain.server_names = match.sni_hosts;
      chain.prefix_ranges = match.destination_subnets;
      out.push_back(std::move(chain));
      if (out.back().matches_all()) return out;
    }
  }
  return out;
}

std::vector<OutboundListener> outbound_plan(const MeshState& state, const ProxyFacts& proxy) {
  std::map<std::pair<std::string, uint32_t>, OutboundListener> plan;
  auto rules = mesh_rules(state, proxy);
  for (auto& service : state.services()) {
    if (!service.visible_to(proxy.ns())) continue;
    for (auto& port : service.ports) {
      if (port.protocol == Protocol::kUdp) continue;
      // HTTP is told apart by host: one listener for all services of the port.
      bool http = is_http(port.protocol), sniffed = port.protocol == Protocol::kAuto;
      for (auto& bind : http ? std::vector<std::string>{kAny} : binds_of(service, proxy)) {
        auto [found, fresh] = plan.try_emplace({bind, port.number});
        auto& listener = found->second;
        if (fresh) {
          listener.address = bind;
          listener.port = port.number;
          listener.protocol = port.protocol;
        } else if (!may_share(listener.protocol, port.protocol)) {
          listener.left_out.push_back(&service);
          continue;
        }
        if (!http) add_chains(listener, chains_of(state, proxy, service, port, bind, rules));
        if (http || sniffed) {
          listener.protocol = Protocol::kAuto;
          set_route(listener, service, port.protocol);
        }
      }
    }
  }
  std::vector<OutboundListener> out;
  for (auto& [key, listener] : plan) out.push_back(std::move(listener));
  return out;
}

}  // namespace pinnace::translator
