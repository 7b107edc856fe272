// Clusters: one per service port and subset, the workload's inbound ports, and the three fixed ones.
// envoy.config.cluster.v3.Cluster. Pure: (MeshState, ProxyFacts) -> resources.
#pragma once

#include <vector>

#include "envoy/config/cluster/v3/cluster.pb.h"
#include "translator/translate/mesh_state.h"
#include "translator/translate/proxy_facts.h"

namespace pinnace::translator {

std::vector<envoy::config::cluster::v3::Cluster> translate_clusters(const MeshState& state, const ProxyFacts& proxy);

// The policy in force for one port of a service: destination, port and subset level of its DestinationRule.
TrafficPolicy effective_policy(const DestinationRule* rule, const Subset* subset, uint32_t port);

// How a client of `proxy` reaches the service when no DestinationRule says otherwise.
bool auto_mtls(const MeshState& state, const MeshService& service);

}  // namespace pinnace::translator
