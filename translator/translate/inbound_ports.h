// InboundPort: a port of the workload that services lead to. Several services may share one; the first by host name
// decides its protocol. Sorted by target port. ENVOY: a UDP port is among them, as istiod has it, and taken as TCP.
#pragma once

#include <vector>

#include "translator/translate/mesh_state.h"

namespace pinnace::translator {

struct InboundPort {
  uint32_t target_port = 0, service_port = 0;
  Protocol protocol = Protocol::kAuto;
  std::vector<const MeshService*> services;
};

std::vector<InboundPort> inbound_ports(const MeshState& state, const Pod& pod);

}  // namespace pinnace::translator
