#include "translator/translate/endpoints.h"

#include "translator/translate/proto.h"

namespace pinnace::translator {

LoadAssignment translate_endpoints(const MeshService& service, size_t port_index, const Subset* subset,
                                   const std::string& cluster) {
  LoadAssignment out;
  out.set_cluster_name(cluster);
  if (service.kind == MeshService::Kind::kNone) return out;
  envoy::config::endpoint::v3::LocalityLbEndpoints locality;
  locality.mutable_locality();
  uint32_t total = 0;
  for (auto& endpoint : service.endpoints) {
    uint32_t port = endpoint.target_ports[port_index];
    if (port == 0 || (subset && !labels_match(subset->labels, endpoint.labels))) continue;
    auto* one = locality.add_lb_endpoints();
    set_address(one->mutable_endpoint()->mutable_address(), endpoint.address, port);
    if (endpoint.health_known)
      one->set_health_status(endpoint.ready ? envoy::config::core::v3::HEALTHY : envoy::config::core::v3::UNHEALTHY);
    one->mutable_load_balancing_weight()->set_value(endpoint.weight);
    total += endpoint.weight;
    auto& metadata = *one->mutable_metadata()->mutable_filter_metadata();
    if (endpoint.mtls)
      (*metadata["envoy.transport_socket_match"].mutable_fields())["tlsMode"].set_string_value("istio");
    if (!endpoint.workload.empty())
      (*metadata["istio"].mutable_fields())["workload"].set_string_value(endpoint.workload);
    if (metadata.empty()) one->clear_metadata();
  }
  if (total == 0) return out;
  locality.mutable_load_balancing_weight()->set_value(total);
  out.add_endpoints()->Swap(&locality);
  return out;
}

std::vector<LoadAssignment> translate_all_endpoints(const MeshState& state, const ProxyFacts& proxy) {
  std::vector<LoadAssignment> out;
  for (auto& service : state.services()) {
    if (!service.visible_to(proxy.ns()) || service.kind == MeshService::Kind::kDns) continue;
    bool original = service.kind == MeshService::Kind::kNone || service.kind == MeshService::Kind::kHeadless;
    if (original && !proxy.router) continue;
    auto* rule = state.destination_rule(service, proxy.ns());
    for (size_t i = 0; i < service.ports.size(); i++) {
      auto number = service.ports[i].number;
      if (service.ports[i].protocol == Protocol::kUdp) continue;
      out.push_back(translate_endpoints(service, i, nullptr, outbound_cluster(number, "", service.host)));
      if (!rule) continue;
      for (auto& subset : rule->subsets)
        out.push_back(translate_endpoints(service, i, &subset, outbound_cluster(number, subset.name, service.host)));
    }
  }
  return out;
}

}  // namespace pinnace::translator
