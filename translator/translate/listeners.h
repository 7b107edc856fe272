// Listeners of a proxy: for a sidecar virtualOutbound, virtualInbound and one per outbound address; for a router one
// per Gateway port. envoy.config.listener.v3.Listener. Pure: (MeshState, ProxyFacts) -> resources.
#pragma once

#include <vector>

#include "translator/translate/filters.h"
#include "translator/translate/proxy_facts.h"

namespace pinnace::translator {

std::vector<Listener> translate_listeners(const MeshState& state, const ProxyFacts& proxy);

Listener virtual_inbound(const MeshState& state, const ProxyFacts& proxy);
std::vector<Listener> gateway_listeners(const MeshState& state, const ProxyFacts& proxy);

Listener new_listener(const std::string& name, const std::string& address, uint32_t port);

}  // namespace pinnace::translator
