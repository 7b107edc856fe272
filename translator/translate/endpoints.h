// Endpoints of one service port, for EDS and for the inline assignment of DNS clusters.
// envoy.config.endpoint.v3.ClusterLoadAssignment.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "envoy/config/endpoint/v3/endpoint.pb.h"
#include "translator/translate/mesh_state.h"
#include "translator/translate/proxy_facts.h"

namespace pinnace::translator {

using LoadAssignment = envoy::config::endpoint::v3::ClusterLoadAssignment;

LoadAssignment translate_endpoints(const MeshService& service, size_t port_index, const Subset* subset,
                                   const std::string& cluster);

// Every assignment that an EDS cluster of this proxy may ask for.
std::vector<LoadAssignment> translate_all_endpoints(const MeshState& state, const ProxyFacts& proxy);

}  // namespace pinnace::translator
