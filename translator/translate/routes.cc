#include "translator/translate/routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "translator/translate/gateway_plan.h"
#include "translator/translate/outbound_plan.h"
#include "translator/translate/proto.h"

namespace pinnace::translator {
namespace {

VirtualHost catch_all(const MeshConfig& config) {
  auto out = new_virtual_host(config.registry_only ? "block_all" : "allow_any");
  out.add_domains("*");
  auto* route = out.add_routes();
  route->set_name(out.name());
  route->mutable_match()->set_prefix("/");
  if (config.registry_only) {
    route->mutable_direct_response()->set_status(502);
  } else {
    route->mutable_route()->set_cluster(kPassthroughCluster);
    route->mutable_route()->mutable_timeout();
    route->mutable_route()->mutable_max_grpc_timeout();
  }
  return out;
}

// All names by which a client in `ns` may call the service, in istiod's order.
std::vector<std::string> domains_of(const MeshState& state, const MeshService& service, const std::string& ns) {
  std::vector<std::string> out{service.host};
  if (!service.host.starts_with('*')) out.push_back(service.host + ".");
  if (service.kubernetes()) {
    auto qualified = service.name + "." + service.ns;
    if (service.ns == ns)
      for (auto& name : {service.name, qualified + ".svc", qualified}) out.push_back(name);
    else
      for (auto& name : {qualified, qualified + ".svc"}) out.push_back(name);
    if (service.kind == MeshService::Kind::kHeadless)  // its pods have names of their own below it
      for (size_t i = 0, n = out.size(); i < n; i++) out.push_back("*." + out[i]);
  }
  for (auto& address : service.addresses)
    if (address.find('/') == std::string::npos) out.push_back(address);
  return out;
}

// The rule that owns a host: one naming it exactly before the longest wildcard, the first by name among equals.
const VirtualService* rule_for(const MeshState& state, const std::vector<const VirtualService*>& rules,
                               const std::string& host) {
  const VirtualService* best = nullptr;
  size_t best_length = 0;
  for (auto* rule : rules) {
    if (rule->http.empty()) continue;
    for (auto& pattern : rule->hosts) {
      auto full = state.resolve_host(pattern, rule->meta.ns);
      if (!host_matches(full, host)) continue;
      size_t length = full == host ? full.size() + 1 : full.size();
      if (length > best_length) best = rule, best_length = length;
    }
  }
  return best;
}

VirtualHost service_host(const MeshState& state, const ProxyFacts& proxy, const MeshService& service, uint32_t port,
                         const std::vector<const VirtualService*>& rules) {
  auto out = new_virtual_host(fmt::format("{}:{}", service.host, port));
  if (auto* rule = rule_for(state, rules, service.host))
    for (auto& route : translate_http_rule(state, *rule, {&proxy, "mesh", port})) *out.add_routes() = std::move(route);
  if (out.routes_size() == 0)
    *out.add_routes() = default_route(outbound_cluster(port, "", service.host), service.host, port);
  return out;
}

// Hosts that a rule speaks of and no service has: they live on port 80, the port of names without one.
void add_serviceless_hosts(const MeshState& state, const ProxyFacts& proxy,
                           const std::vector<const VirtualService*>& rules, const std::set<std::string>& taken,
                           std::map<std::string, VirtualHost>& hosts) {
  for (auto* rule : rules) {
    bool has_service = std::any_of(rule->hosts.begin(), rule->hosts.end(), [&](auto& pattern) {
      auto full = state.resolve_host(pattern, rule->meta.ns);
      return std::any_of(taken.begin(), taken.end(), [&](auto& host) { return host_matches(full, host); });
    });
    if (has_service) continue;
    auto routes = translate_http_rule(state, *rule, {&proxy, "mesh", 80});
    if (routes.empty()) continue;
    for (auto& pattern : rule->hosts) {
      auto full = state.resolve_host(pattern, rule->meta.ns);
      auto host = new_virtual_host(full + ":80");
      host.add_domains(full);
      for (auto& route : routes) *host.add_routes() = route;
      hosts.emplace(host.name(), std::move(host));
    }
  }
}

RouteConfiguration port_routes(const MeshState& state, const ProxyFacts& proxy, uint32_t port,
                               const std::vector<const VirtualService*>& rules) {
  std::map<std::string, VirtualHost> hosts;
  std::set<std::string> with_service;
  for (auto& service : state.services()) {
    auto* own = service.port(port);
    if (!own || !is_http_or_sniffed(own->protocol) || !service.visible_to(proxy.ns())) continue;
    with_service.insert(service.host);
    auto host = service_host(state, proxy, service, port, rules);
    for (auto& domain : domains_of(state, service, proxy.ns())) host.add_domains(domain);
    hosts.emplace(host.name(), std::move(host));
  }
  if (port == 80) add_serviceless_hosts(state, proxy, rules, with_service, hosts);
  auto out = new_route_configuration(std::to_string(port));
  std::set<std::string> domains{"*"};  // a domain may occur once in the whole table; the catch-all keeps "*"
  for (auto& [name, host] : hosts) {
    VirtualHost unique = host;
    unique.clear_domains();
    for (auto& domain : host.domains())
      if (domains.insert(domain).second) unique.add_domains(domain);
    if (unique.domains_size() > 0) *out.add_virtual_hosts() = std::move(unique);
  }
  *out.add_virtual_hosts() = catch_all(state.config());
  return out;
}

}  // namespace

RouteConfiguration new_route_configuration(const std::string& name) {
  RouteConfiguration out;
  out.set_name(name);
  out.mutable_validate_clusters()->set_value(false);
  out.mutable_max_direct_response_body_size_bytes()->set_value(1048576);
  out.set_ignore_port_in_host_matching(true);
  return out;
}

VirtualHost new_virtual_host(const std::string& name) {
  VirtualHost out;
  out.set_name(name);
  out.set_include_request_attempt_count(true);
  return out;
}

std::string sniffed_route_name(const MeshService& service, uint32_t port) {
  return fmt::format("{}:{}", service.host, port);
}

RouteConfiguration inbound_routes(const std::string& cluster, uint32_t service_port, const std::string& host,
                                  bool retry) {
  RouteConfiguration out;
  out.set_name(cluster);
  out.mutable_validate_clusters()->set_value(false);
  auto* all = out.add_virtual_hosts();
  all->set_name(fmt::format("inbound|http|{}", service_port));
  all->add_domains("*");
  *all->add_routes() = inbound_route(cluster, fmt::format("{}:{}/*", host, service_port), retry);
  return out;
}

std::vector<RouteConfiguration> translate_routes(const MeshState& state, const ProxyFacts& proxy) {
  std::vector<RouteConfiguration> out;
  if (proxy.router) {
    for (auto& port : gateway_plan(state, proxy)) {
      auto routes = gateway_routes(state, proxy, port);
      out.insert(out.end(), std::make_move_iterator(routes.begin()), std::make_move_iterator(routes.end()));
    }
    return out;
  }
  auto rules = mesh_rules(state, proxy);
  std::set<std::string> done;
  for (auto& listener : outbound_plan(state, proxy)) {
    if (listener.route.empty() || !done.insert(listener.route).second) continue;
    if (!listener.sniffed_service) {
      out.push_back(port_routes(state, proxy, listener.port, rules));
      continue;
    }
    auto routes = new_route_configuration(listener.route);
    auto host = service_host(state, proxy, *listener.sniffed_service, listener.port, rules);
    host.add_domains("*");
    *routes.add_virtual_hosts() = std::move(host);
    out.push_back(std::move(routes));
  }
  return out;
}

}  // namespace pinnace::translator
