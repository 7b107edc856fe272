// What translation asks of a MeshState.
#include <algorithm>

#include "translator/translate/mesh_state.h"

namespace pinnace::translator {

const Pod* MeshState::pod(std::string_view name, std::string_view ns) const {
  if (name.empty()) return nullptr;
  for (auto& pod : pods_)
    if (pod.meta.name == name && pod.meta.ns == ns) return &pod;
  return nullptr;
}

const MeshService* MeshState::service(std::string_view host, std::string_view client_ns) const {
  for (auto& service : services_)
    if (service.host == host && service.visible_to(client_ns)) return &service;
  return nullptr;
}

std::string MeshState::resolve_host(std::string_view host, std::string_view ns) const {
  if (host.find('.') != std::string_view::npos || host.starts_with('*')) return std::string(host);
  return std::string(host) + "." + std::string(ns) + ".svc." + config_.domain;
}

const DestinationRule* MeshState::destination_rule(const MeshService& service, std::string_view client_ns) const {
  auto best_in = [&](std::string_view ns) {
    const DestinationRule* best = nullptr;
    size_t best_length = 0;
    for (auto& rule : destination_rules_) {
      if (rule.meta.ns != ns || !exported_to(rule.export_to, rule.meta.ns, client_ns)) continue;
      auto host = resolve_host(rule.host, rule.meta.ns);
      if (!host_matches(host, service.host)) continue;
      size_t length = host == service.host ? host.size() + 1 : host.size();
      if (length > best_length) best = &rule, best_length = length;
    }
    return best;
  };
  for (auto ns : {client_ns, std::string_view(service.ns), std::string_view(config_.root_namespace)})
    if (auto* rule = best_in(ns)) return rule;
  return nullptr;
}

MtlsMode MeshState::mtls_mode(const Pod& pod, uint32_t port) const {
  auto mesh = MtlsMode::kUnset, ns = MtlsMode::kUnset, workload = MtlsMode::kUnset, own_port = MtlsMode::kUnset;
  for (auto& policy : peer_authentications_) {
    if (policy.selector.empty()) {
      // The first by name wins where several cover the same ground.
      if (policy.meta.ns == config_.root_namespace && mesh == MtlsMode::kUnset) mesh = policy.mode;
      if (policy.meta.ns == pod.meta.ns && policy.meta.ns != config_.root_namespace && ns == MtlsMode::kUnset)
        ns = policy.mode;
      continue;
    }
    if (policy.meta.ns != pod.meta.ns || !labels_match(policy.selector, pod.meta.labels)) continue;
    if (workload == MtlsMode::kUnset) workload = policy.mode;
    if (auto found = policy.ports.find(port); found != policy.ports.end() && own_port == MtlsMode::kUnset)
      own_port = found->second;
  }
  for (auto mode : {own_port, workload, ns, mesh})
    if (mode != MtlsMode::kUnset) return mode;
  return MtlsMode::kPermissive;
}

std::map<uint32_t, MtlsMode> MeshState::mtls_port_modes(const Pod& pod) const {
  std::map<uint32_t, MtlsMode> out;
  for (auto& policy : peer_authentications_)
    if (!policy.selector.empty() && policy.meta.ns == pod.meta.ns && labels_match(policy.selector, pod.meta.labels))
      for (auto& [port, mode] : policy.ports) out.emplace(port, mtls_mode(pod, port));
  return out;
}

}  // namespace pinnace::translator
