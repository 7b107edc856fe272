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

Result<uint32_t> overprovisioning(const endpoint_pb::ClusterLoadAssignment& assignment) {
  auto known = only_fields(assignment.policy(), {"overprovisioning_factor"});
  if (!known) return in("policy", known.error());
  if (!assignment.policy().has_overprovisioning_factor()) return 140u;
  uint32_t factor = assignment.policy().overprovisioning_factor().value();
  if (factor == 0) return error("policy.overprovisioning_factor: must be more than 0");
  return factor;
}

Result<model::Endpoint> endpoint_without_address(const endpoint_pb::LbEndpoint& proto, uint32_t priority,
                                                 const std::vector<model::TransportSocket>& sockets) {
  if (priority > 128) return error("priority: " + std::to_string(priority) + " is more than 128");
  model::Endpoint endpoint;
  endpoint.hostname = proto.endpoint().hostname();
  endpoint.weight = proto.has_load_balancing_weight() ? std::max(1u, proto.load_balancing_weight().value()) : 1;
  endpoint.priority = priority;
  endpoint.healthy = proto.health_status() == core::UNKNOWN || proto.health_status() == core::HEALTHY ||
                     proto.health_status() == core::DEGRADED;
  auto labels = proto.metadata().filter_metadata().find("envoy.transport_socket_match");
  if (labels != proto.metadata().filter_metadata().end()) {
    for (const auto& [key, value] : labels->second.fields())
      endpoint.socket_labels.emplace_back(key, value.string_value());
  }
  auto istio = proto.metadata().filter_metadata().find("istio");
  if (istio != proto.metadata().filter_metadata().end()) {
    auto workload = istio->second.fields().find("workload");
    if (workload != istio->second.fields().end()) endpoint.workload = workload->second.string_value();
  }
  endpoint.socket = select_socket(sockets, endpoint.socket_labels);
  return endpoint;
}

Result<model::EndpointsPtr> endpoints(const endpoint_pb::ClusterLoadAssignment& assignment,
                                      const std::vector<model::TransportSocket>& sockets) {
  auto set = std::make_shared<model::EndpointSet>();
  auto factor = overprovisioning(assignment);
  if (!factor) return factor.error();
  set->overprovisioning_percent = *factor;
  for (int i = 0; i < assignment.endpoints_size(); i++) {
    const auto& locality = assignment.endpoints(i);
    std::string place = "endpoints[" + std::to_string(i) + "]";
    for (int j = 0; j < locality.lb_endpoints_size(); j++) {
      const auto& proto = locality.lb_endpoints(j);
      std::string at = place + ".lb_endpoints[" + std::to_string(j) + "]";
      auto made = endpoint_without_address(proto, locality.priority(), sockets);
      if (!made) return in(place, made.error());
      auto where = address(proto.endpoint().address());
      if (!where) return in(at + ".endpoint", where.error());
      auto endpoint = std::make_shared<model::Endpoint>(std::move(*made));
      endpoint->address = *where;
      endpoint->text = where->text();
      set->endpoints.push_back(std::move(endpoint));
    }
  }
  return model::EndpointsPtr(std::move(set));
}

}  // namespace pinnace::compile
