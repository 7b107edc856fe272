// GatewayPlan: the servers of all Gateways that select a router, by the port it listens on. Listeners and routes are
// both drawn from it. LIFETIME: points into the MeshState.
#pragma once

#include <string>
#include <vector>

#include "translator/translate/proxy_facts.h"
#include "translator/translate/routes.h"

namespace pinnace::translator {

struct GatewayBinding {
  const Gateway* gateway = nullptr;
  const GatewayServer* server = nullptr;

  std::string name() const { return gateway->meta.ns + "/" + gateway->meta.name; }
  bool plain_http() const;   // HTTP without TLS: all such servers of a port share one route table
  bool secure_http() const;  // HTTPS, terminated here: a route table of its own
  std::string https_route() const;
};

struct GatewayPort {
  uint32_t port = 0;  // the one listened on
  std::vector<GatewayBinding> bindings;
  bool plain_http() const { return bindings[0].plain_http(); }
};

std::vector<GatewayPort> gateway_plan(const MeshState& state, const ProxyFacts& proxy);

// The rule's hosts that one of the server's hosts admits; the narrower of the two where one is a wildcard.
std::vector<std::string> admitted_hosts(const MeshState& state, const VirtualService& rule,
                                        const GatewayBinding& binding);
// Server hosts without their namespace part.
std::vector<std::string> server_hosts(const GatewayServer& server);

std::vector<RouteConfiguration> gateway_routes(const MeshState& state, const ProxyFacts& proxy,
                                               const GatewayPort& port);

}  // namespace pinnace::translator
