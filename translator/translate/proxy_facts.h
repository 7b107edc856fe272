// ProxyFacts: what translation must know of the proxy it translates for. A sidecar has the pod's inbound ports and the
// mesh outbound; a router has what Gateways bind to it.
// LIFETIME: points into the MeshState it was made from.
#pragma once

#include <string>
#include <vector>

#include "proxy/base/result.h"
#include "translator/translate/mesh_state.h"

namespace pinnace::translator {

struct ProxyFacts {
  const Pod* pod = nullptr;
  bool router = false;

  const std::string& ns() const { return pod->meta.ns; }
  std::string node_id(std::string_view domain) const;
};

// A pod that a Gateway selects, or that asks for the gateway template, is a router.
ProxyFacts proxy_facts(const MeshState& state, const Pod& pod);

struct NodeId {
  bool router = false;
  std::string ip, pod, ns;
};
// "sidecar~IP~pod.ns~domain". ERRORS: another form or type.
Result<NodeId> parse_node_id(std::string_view id);

}  // namespace pinnace::translator
