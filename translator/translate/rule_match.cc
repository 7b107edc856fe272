#include "translator/translate/rule_match.h"

#include <algorithm>

namespace pinnace::translator {
namespace {

template <class Match>
bool matches(const Match& match, const VirtualService& rule, const RuleScope& scope) {
  if (match.port != 0 && match.port != scope.port) return false;
  if (!match.gateways.empty() && !names_gateway(match.gateways, rule.meta.ns, scope.gateway)) return false;
  if (scope.gateway != "mesh") return true;  // the sender is unknown at a gateway: sender conditions do not apply
  if (!match.source_namespace.empty() && match.source_namespace != scope.proxy->ns()) return false;
  return labels_match(match.source_labels, scope.proxy->pod->meta.labels);
}

std::vector<const VirtualService*> rules_of(const MeshState& state, const ProxyFacts& proxy,
                                            const std::string& gateway) {
  std::vector<const VirtualService*> out;
  for (auto& rule : state.virtual_services())
    if (exported_to(rule.export_to, rule.meta.ns, proxy.ns()) && names_gateway(rule.gateways, rule.meta.ns, gateway))
      out.push_back(&rule);
  return out;
}

}  // namespace

bool names_gateway(const std::vector<std::string>& gateways, std::string_view own_ns, std::string_view gateway) {
  if (gateways.empty()) return gateway == "mesh";
  return std::any_of(gateways.begin(), gateways.end(), [&](const std::string& name) {
    if (name == "mesh" || gateway == "mesh") return name == gateway;
    if (name.find('/') != std::string::npos) return name == gateway;
    return std::string(own_ns) + "/" + name == gateway;
  });
}

bool matches_scope(const HttpMatch& match, const VirtualService& rule, const RuleScope& scope) {
  return matches(match, rule, scope);
}

bool matches_scope(const L4Match& match, const VirtualService& rule, const RuleScope& scope) {
  return matches(match, rule, scope);
}

std::vector<const VirtualService*> mesh_rules(const MeshState& state, const ProxyFacts& proxy) {
  return rules_of(state, proxy, "mesh");
}

std::vector<const VirtualService*> gateway_rules(const MeshState& state, const ProxyFacts& proxy,
                                                 const std::string& gateway) {
  return rules_of(state, proxy, gateway);
}

}  // namespace pinnace::translator
