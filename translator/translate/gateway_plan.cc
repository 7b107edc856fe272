#include "translator/translate/gateway_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace pinnace::translator {
namespace {

// The Gateway names the port of the service in front; the pod listens on its target.
uint32_t listening_port(const MeshState& state, const Pod& pod, uint32_t number) {
  for (auto& service : state.services()) {
    if (!service.kubernetes() || service.ns != pod.meta.ns) continue;
    for (auto& endpoint : service.endpoints)
      if (endpoint.pod == &pod || endpoint.address == pod.ip)
        for (size_t i = 0; i < service.ports.size(); i++)
          if (service.ports[i].number == number && endpoint.target_ports[i] != 0) return endpoint.target_ports[i];
  }
  return number;
}

using Hosts = std::map<std::string, VirtualHost>;

void add_binding(const MeshState& state, const ProxyFacts& proxy, const GatewayBinding& binding, Hosts& hosts) {
  uint32_t number = binding.server->port;
  auto host_at = [&](const std::string& host) -> VirtualHost& {
    auto name = fmt::format("{}:{}", host, number);
    auto found = hosts.find(name);
    if (found != hosts.end()) return found->second;
    auto& made = hosts.emplace(name, new_virtual_host(name)).first->second;
    made.add_domains(host);
    return made;
  };
  for (auto* rule : gateway_rules(state, proxy, binding.name())) {
    auto admitted = admitted_hosts(state, *rule, binding);
    if (admitted.empty()) continue;
    auto routes = translate_http_rule(state, *rule, {&proxy, binding.name(), number});
    if (routes.empty()) continue;
    for (auto& host : admitted)
      for (auto& route : routes) *host_at(host).add_routes() = route;
  }
  if (!binding.server->https_redirect) return;
  for (auto& host : server_hosts(*binding.server)) host_at(host).set_require_tls(VirtualHost::ALL);
}

RouteConfiguration finish(const std::string& name, uint32_t port, Hosts hosts) {
  auto out = new_route_configuration(name);
  for (auto& [host, one] : hosts) *out.add_virtual_hosts() = std::move(one);
  if (hosts.empty()) {  // a table without hosts: every request is answered 404
    auto* hole = out.add_virtual_hosts();
    hole->set_name(fmt::format("blackhole:{}", port));
    hole->add_domains("*");
  }
  return out;
}

// Hosts tell plain HTTP servers apart and names tell TLS servers apart, and what has no name may come to the latter as
// plain TCP, once. Of all others the first keeps the socket.
bool can_join(const GatewayPort& port, const GatewayBinding& binding) {
  if (port.bindings.empty()) return true;
  if (port.plain_http() || binding.plain_http()) return port.plain_http() && binding.plain_http();
  return std::all_of(port.bindings.begin(), port.bindings.end(),
                     [](auto& known) { return known.server->tls.has_value(); });
}

}  // namespace

bool GatewayBinding::plain_http() const { return is_http(server->protocol); }

bool GatewayBinding::secure_http() const {
  return server->protocol == Protocol::kHttps && server->tls && server->tls->mode != ServerTls::Mode::kPassthrough;
}

std::string GatewayBinding::https_route() const {
  return fmt::format("https.{}.{}.{}.{}", server->port, server->name, gateway->meta.name, gateway->meta.ns);
}

std::vector<GatewayPort> gateway_plan(const MeshState& state, const ProxyFacts& proxy) {
  std::map<uint32_t, GatewayPort> ports;
  for (auto& gateway : state.gateways()) {
    if (!labels_match(gateway.selector, proxy.pod->meta.labels)) continue;
    for (auto& server : gateway.servers) {
      uint32_t number = listening_port(state, *proxy.pod, server.port);
      auto& port = ports[number];
      port.port = number;
      GatewayBinding binding{&gateway, &server};
      if (can_join(port, binding)) port.bindings.push_back(binding);
    }
  }
  std::vector<GatewayPort> out;
  for (auto& [number, port] : ports) out.push_back(std::move(port));
  return out;
}

std::vector<std::string> server_hosts(const GatewayServer& server) {
  std::vector<std::string> out;
  for (auto& host : server.hosts) {
    size_t slash = host.find('/');
    out.push_back(slash == std::string::npos ? host : host.substr(slash + 1));
  }
  return out;
}

std::vector<std::string> admitted_hosts(const MeshState& state, const VirtualService& rule,
                                        const GatewayBinding& binding) {
  std::vector<std::string> out;
  for (auto& pattern : rule.hosts) {
    auto host = state.resolve_host(pattern, rule.meta.ns);
    for (auto& server : binding.server->hosts) {
      size_t slash = server.find('/');
      auto from = slash == std::string::npos ? "*" : server.substr(0, slash);
      auto name = slash == std::string::npos ? server : server.substr(slash + 1);
      if (from != "*" && from != rule.meta.ns && !(from == "." && binding.gateway->meta.ns == rule.meta.ns)) continue;
      std::string admitted;
      if (host_matches(name, host)) admitted = host;
      else if (host_matches(host, name)) admitted = name;
      if (!admitted.empty() && std::find(out.begin(), out.end(), admitted) == out.end()) out.push_back(admitted);
    }
  }
  return out;
}

std::vector<RouteConfiguration> gateway_routes(const MeshState& state, const ProxyFacts& proxy,
                                               const GatewayPort& port) {
  std::vector<RouteConfiguration> out;
  if (port.plain_http()) {
    Hosts hosts;
    for (auto& binding : port.bindings) add_binding(state, proxy, binding, hosts);
    out.push_back(finish(fmt::format("http.{}", port.port), port.port, std::move(hosts)));
    return out;
  }
  for (auto& binding : port.bindings) {
    if (!binding.secure_http()) continue;
    Hosts hosts;
    add_binding(state, proxy, binding, hosts);
    out.push_back(finish(binding.https_route(), binding.server->port, std::move(hosts)));
  }
  return out;
}

}  // namespace pinnace::translator
