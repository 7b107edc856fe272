#include "translator/translate/inbound_ports.h"

#include <algorithm>

namespace pinnace::translator {

std::vector<InboundPort> inbound_ports(const MeshState& state, const Pod& pod) {
  std::vector<InboundPort> out;
  for (auto& service : state.services()) {
    if (!service.kubernetes() || service.ns != pod.meta.ns) continue;
    // Endpoints say it most exactly; a pod that is not ready yet has none in an Endpoints object of some makers.
    const MeshEndpoint* own = nullptr;
    for (auto& endpoint : service.endpoints)
      if (endpoint.pod == &pod || endpoint.address == pod.ip) own = &endpoint;
    if (!own) continue;
    for (size_t i = 0; i < service.ports.size(); i++) {
      uint32_t target = own->target_ports[i];
      if (target == 0) continue;
      auto known = std::find_if(out.begin(), out.end(), [&](auto& port) { return port.target_port == target; });
      if (known != out.end()) {
        if (known->services.back() != &service) known->services.push_back(&service);
        continue;
      }
      out.push_back({target, service.ports[i].number, service.ports[i].protocol, {&service}});
    }
  }
  std::stable_sort(out.begin(), out.end(), [](auto& a, auto& b) { return a.target_port < b.target_port; });
  return out;
}

}  // namespace pinnace::translator
