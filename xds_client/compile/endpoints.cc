#include "envoy/config/endpoint/v3/endpoint_components.pb.h"
#include "xds_client/compile/cluster.h"
#include "xds_client/compile/common.h"

namespace pinnace::compile {

namespace endpoint_pb = envoy::config::endpoint::v3;
namespace core = envoy::config::core::v3;

uint32_t select_socket(const std::vector<model::TransportSocket>& sockets, const model::MatchLabels& labels) {
  for (uint32_t i = 0; i + 1 < sockets.size(); i++) {
    bool all = true;
    for (const auto& wanted : sockets[i].match) {
      bool found = false;
      for (const auto& label : labels) found = found || label == wanted;
      all = all && found;
    }
    if (all) return i;
  }
  return static_cast<uint32_t>(sockets.size() - 1);
}

Result<model::EndpointsPtr> endpoints(const endpoint_pb::ClusterLoadAssignment& assignment,
                                      const std::vector<model::TransportSocket>& sockets) {
  auto set = std::make_shared<model::EndpointSet>();
  const auto& policy = assignment.policy();
  auto known = only_fields(policy, {"overprovisioning_factor"});
  if (!known) return in("policy", known.error());
  for (int i = 0; i < assignment.endpoints_size(); i++) {
    const auto& locality = assignment.endpoints(i);
    std::string place = "endpoints[" + std::to_string(i) + "]";
    for (int j = 0; j < locality.lb_endpoints_size(); j++) {
      const auto& proto = locality.lb_endpoints(j);
      std::string at = place + ".lb_endpoints[" + std::to_string(j) + "]";
      auto endpoint = std::make_shared<model::Endpoint>();
      auto where = address(proto.endpoint().address());
      if (!where) return in(at + ".endpoint", where.error());
      endpoint->address = *where;
      endpoint->text = where->text();
      endpoint->hostname = proto.endpoint().hostname();
      endpoint->weight = proto.has_load_balancing_weight() ? std::max(1u, proto.load_balancing_weight().value()) : 1;
      endpoint->priority = locality.priority();
      endpoint->healthy = proto.health_status() == core::UNKNOWN || proto.health_status() == core::HEALTHY ||
                          proto.health_status() == core::DEGRADED;
      auto labels = proto.metadata().filter_metadata().find("envoy.transport_socket_match");
      if (labels != proto.metadata().filter_metadata().end()) {
        for (const auto& [key, value] : labels->second.fields())
          endpoint->socket_labels.emplace_back(key, value.string_value());
      }
      auto istio = proto.metadata().filter_metadata().find("istio");
      if (istio != proto.metadata().filter_metadata().end()) {
        auto workload = istio->second.fields().find("workload");
        if (workload != istio->second.fields().end()) endpoint->workload = workload->second.string_value();
      }
      endpoint->socket = select_socket(sockets, endpoint->socket_labels);
      set->endpoints.push_back(std::move(endpoint));
    }
  }
  return model::EndpointsPtr(std::move(set));
}

}  // namespace pinnace::compile
