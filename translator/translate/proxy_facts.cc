#include "translator/translate/proxy_facts.h"

#include <fmt/format.h>

namespace pinnace::translator {

std::string ProxyFacts::node_id(std::string_view domain) const {
  return fmt::format("{}~{}~{}.{}~{}.svc.{}", router ? "router" : "sidecar", pod->ip, pod->meta.name, ns(), ns(),
                     domain);
}

ProxyFacts proxy_facts(const MeshState& state, const Pod& pod) {
  ProxyFacts facts{&pod, false};
  auto tmpl = pod.meta.annotations.find("inject.istio.io/templates");
  facts.router = tmpl != pod.meta.annotations.end() && tmpl->second == "gateway";
  for (auto& gateway : state.gateways())
    if (labels_match(gateway.selector, pod.meta.labels)) facts.router = true;
  return facts;
}

Result<NodeId> parse_node_id(std::string_view id) {
  std::vector<std::string_view> parts;
  for (std::string_view rest = id;;) {
    size_t tilde = rest.find('~');
    parts.push_back(rest.substr(0, tilde));
    if (tilde == std::string_view::npos) break;
    rest.remove_prefix(tilde + 1);
  }
  if (parts.size() != 4) return error(fmt::format("node id \"{}\": expected type~ip~pod.namespace~domain", id));
  if (parts[0] != "sidecar" && parts[0] != "router")
    return error(fmt::format("node id \"{}\": type {} is not supported", id, parts[0]));
  size_t dot = parts[2].rfind('.');
  if (dot == std::string_view::npos || dot == 0 || dot + 1 == parts[2].size())
    return error(fmt::format("node id \"{}\": expected pod.namespace", id));
  return NodeId{parts[0] == "router", std::string(parts[1]), std::string(parts[2].substr(0, dot)),
                std::string(parts[2].substr(dot + 1))};
}

}  // namespace pinnace::translator
