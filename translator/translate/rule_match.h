// Which VirtualServices and which of their matches apply to a proxy: gateways, source labels, namespace, port, exports.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "translator/translate/mesh_state.h"
#include "translator/translate/proxy_facts.h"

namespace pinnace::translator {

// Where a rule is asked to apply: inside the mesh ("mesh"), or at one Gateway ("ns/name").
struct RuleScope {
  const ProxyFacts* proxy = nullptr;
  std::string gateway = "mesh";
  uint32_t port = 0;
};

// The gateways a list names, resolved against the VirtualService's namespace; an empty list means the mesh.
bool names_gateway(const std::vector<std::string>& gateways, std::string_view own_ns, std::string_view gateway);

bool matches_scope(const HttpMatch& match, const VirtualService& rule, const RuleScope& scope);
bool matches_scope(const L4Match& match, const VirtualService& rule, const RuleScope& scope);

// VirtualServices of the mesh gateway visible to the proxy, in order of precedence.
std::vector<const VirtualService*> mesh_rules(const MeshState& state, const ProxyFacts& proxy);
std::vector<const VirtualService*> gateway_rules(const MeshState& state, const ProxyFacts& proxy,
                                                 const std::string& gateway);

}  // namespace pinnace::translator
