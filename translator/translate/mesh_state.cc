#include "translator/translate/mesh_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace pinnace::translator {
namespace {

std::string label(const Pod& pod, std::initializer_list<const char*> keys, std::string fallback) {
  for (auto key : keys)
    if (auto found = pod.meta.labels.find(key); found != pod.meta.labels.end() && !found->second.empty())
      return found->second;
  return fallback;
}

bool says_no(const Labels& map) {
  auto found = map.find("sidecar.istio.io/inject");
  return found != map.end() && found->second == "false";
}

// istiod orders rules by age, then name, then namespace; files have no age.
template <class T>
void sort_by_name(std::vector<T>& objects) {
  std::stable_sort(objects.begin(), objects.end(), [](const T& a, const T& b) {
    return std::tie(a.meta.name, a.meta.ns) < std::tie(b.meta.name, b.meta.ns);
  });
}

uint32_t target_port(const ServicePort& port, const Pod* pod) {
  if (port.target_port) return port.target_port;
  if (!pod) return 0;
  auto found = pod->named_ports.find(port.target_port_name);
  return found == pod->named_ports.end() ? 0 : found->second;
}

// The same address may come by several slices, or by a slice and an Endpoints object: one endpoint with all its ports.
void add_endpoint(MeshService& service, MeshEndpoint endpoint) {
  for (auto& known : service.endpoints) {
    if (known.address != endpoint.address) continue;
    for (size_t i = 0; i < known.target_ports.size(); i++)
      if (known.target_ports[i] == 0) known.target_ports[i] = endpoint.target_ports[i];
    return;
  }
  service.endpoints.push_back(std::move(endpoint));
}

}  // namespace

bool labels_match(const Labels& selector, const Labels& labels) {
  return std::all_of(selector.begin(), selector.end(), [&](const auto& want) {
    auto found = labels.find(want.first);
    return found != labels.end() && found->second == want.second;
  });
}

bool is_injected(const Pod& pod) { return !says_no(pod.meta.annotations) && !says_no(pod.meta.labels); }

std::string workload_name(const Pod& pod) {
  if (pod.meta.owner_kind == "ReplicaSet") {  // deployment-<hash>
    auto dash = pod.meta.owner_name.rfind('-');
    if (dash != std::string::npos) return pod.meta.owner_name.substr(0, dash);
  }
  return pod.meta.owner_name.empty() ? pod.meta.name : pod.meta.owner_name;
}

std::string canonical_name(const Pod& pod) {
  return label(pod, {"service.istio.io/canonical-name", "app.kubernetes.io/name", "app"}, workload_name(pod));
}

std::string canonical_revision(const Pod& pod) {
  return label(pod, {"service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"}, "latest");
}

std::string spiffe_id(std::string_view trust_domain, std::string_view ns, std::string_view service_account) {
  return fmt::format("spiffe://{}/ns/{}/sa/{}", trust_domain, ns, service_account);
}

bool exported_to(const std::vector<std::string>& export_to, std::string_view own_ns, std::string_view ns) {
  if (export_to.empty()) return true;
  return std::any_of(export_to.begin(), export_to.end(),
                     [&](const std::string& to) { return to == "*" || to == ns || (to == "." && own_ns == ns); });
}

bool host_matches(std::string_view pattern, std::string_view host) {
  if (pattern == "*" || pattern == host) return true;
  return pattern.starts_with("*.") && host.size() >= pattern.size() && host.ends_with(pattern.substr(1));
}

const MeshPort* MeshService::port(uint32_t number) const {
  for (auto& one : ports)
    if (one.number == number && one.protocol != Protocol::kUdp) return &one;
  return nullptr;
}

bool MeshService::visible_to(std::string_view other_ns) const { return exported_to(export_to, ns, other_ns); }

std::shared_ptr<const MeshState> MeshState::build(const std::vector<const Object*>& objects, MeshConfig config) {
  auto state = std::make_shared<MeshState>();
  state->config_ = std::move(config);
  for (auto* object : objects) {
    if (auto* pod = std::get_if<Pod>(object)) state->pods_.push_back(*pod);
    if (auto* one = std::get_if<VirtualService>(object)) state->virtual_services_.push_back(*one);
    if (auto* one = std::get_if<DestinationRule>(object)) state->destination_rules_.push_back(*one);
    if (auto* one = std::get_if<Gateway>(object)) state->gateways_.push_back(*one);
    if (auto* one = std::get_if<PeerAuthentication>(object)) state->peer_authentications_.push_back(*one);
  }
  sort_by_name(state->pods_);
  sort_by_name(state->virtual_services_);
  sort_by_name(state->destination_rules_);
  sort_by_name(state->gateways_);
  sort_by_name(state->peer_authentications_);
  state->add_kubernetes(objects);
  std::vector<ServiceEntry> entries;
  for (auto* object : objects)
    if (auto* one = std::get_if<ServiceEntry>(object)) entries.push_back(*one);
  sort_by_name(entries);
  for (auto& entry : entries) state->add_service_entry(entry);
  state->finish();
  return state;
}

void MeshState::add_kubernetes(const std::vector<const Object*>& objects) {
  std::map<std::pair<std::string, std::string>, std::vector<const EndpointSlice*>> slices;
  for (auto* object : objects)
    if (auto* slice = std::get_if<EndpointSlice>(object)) slices[{slice->meta.ns, slice->service}].push_back(slice);

  auto endpoint_of = [&](const std::string& ip, bool ready, const Pod* pod) {
    MeshEndpoint endpoint;
    endpoint.address = ip;
    endpoint.ready = ready;
    endpoint.health_known = true;
    endpoint.pod = pod;
    if (!pod) return endpoint;
    auto mode = pod->meta.labels.find("security.istio.io/tlsMode");
    endpoint.mtls = mode == pod->meta.labels.end() ? is_injected(*pod) : mode->second == "istio";
    endpoint.labels = pod->meta.labels;
    auto revision = canonical_revision(*pod);
    endpoint.workload = fmt::format("{};{};{};{};Kubernetes", workload_name(*pod), pod->meta.ns, canonical_name(*pod),
                                    revision == "latest" ? "" : revision);
    endpoint.identity = spiffe_id(config_.trust_domain, pod->meta.ns, pod->service_account);
    return endpoint;
  };

  for (auto* object : objects) {
    auto* service = std::get_if<Service>(object);
    if (!service) continue;
    MeshService out;
    out.name = service->meta.name;
    out.ns = service->meta.ns;
    out.host = fmt::format("{}.{}.svc.{}", out.name, out.ns, config_.domain);
    out.kind = service->headless ? MeshService::Kind::kHeadless : MeshService::Kind::kClusterIp;
    out.addresses = service->cluster_ips;
    out.selector = service->selector;
    std::vector<const ServicePort*> ports;
    out.file = service->meta.file;
    out.line = service->meta.line;
    for (auto& port : service->ports) {
      out.ports.push_back({port.name, port.port, port.protocol});
      ports.push_back(&port);
    }
    auto found = slices.find({out.ns, out.name});
    if (found != slices.end()) {
      for (auto* slice : found->second)
        for (auto& address : slice->addresses) {
          auto endpoint = endpoint_of(address.ip, address.ready, pod(address.pod, out.ns));
          for (auto* port : ports) {
            uint32_t number = 0;
            for (auto& known : slice->ports)
              if (known.name == port->name || (slice->ports.size() == 1 && ports.size() == 1)) number = known.port;
            endpoint.target_ports.push_back(number);
          }
          add_endpoint(out, std::move(endpoint));
        }
    } else if (!service->selector.empty()) {
      // Without Kubernetes nobody writes EndpointSlices: the selector is answered from the pods.
      for (auto& pod : pods_) {
        if (pod.meta.ns != out.ns || pod.ip.empty() || !labels_match(service->selector, pod.meta.labels)) continue;
        auto endpoint = endpoint_of(pod.ip, pod.ready, &pod);
        for (auto* port : ports) endpoint.target_ports.push_back(target_port(*port, &pod));
        out.endpoints.push_back(std::move(endpoint));
      }
    }
    services_.push_back(std::move(out));
  }
  std::stable_sort(services_.begin(), services_.end(), [](auto& a, auto& b) { return a.host < b.host; });
}

void MeshState::add_service_entry(const ServiceEntry& entry) {
  for (auto& host : entry.hosts) {
    MeshService out;
    out.host = out.name = host;
    out.ns = entry.meta.ns;
    out.external = !entry.mesh_internal;
    out.export_to = entry.export_to;
    out.subject_alt_names = entry.subject_alt_names;
    // A wildcard cannot be resolved: such an entry without endpoints goes where the client wanted to go.
    bool dns =
        entry.resolution == ServiceEntry::Resolution::kDns && !(host.starts_with('*') && entry.endpoints.empty());
    out.kind = dns                                                     ? MeshService::Kind::kDns
               : entry.resolution == ServiceEntry::Resolution::kStatic ? MeshService::Kind::kStatic
                                                                       : MeshService::Kind::kNone;
    for (auto address : entry.addresses) {
      if (address.ends_with("/32")) address.resize(address.size() - 3);
      out.addresses.push_back(address);
    }
    out.file = entry.meta.file;
    out.line = entry.meta.line;
    for (auto& port : entry.ports) out.ports.push_back({port.name, port.number, port.protocol});
    auto add = [&](std::string address, std::string workload, const WorkloadEndpoint* given) {
      MeshEndpoint endpoint;
      endpoint.address = std::move(address);
      endpoint.workload = fmt::format("{};{};{};;Kubernetes", workload, out.ns, workload);
      for (auto& port : entry.ports) {
        uint32_t number = port.target_port ? port.target_port : port.number;
        if (given)
          if (auto own = given->ports.find(port.name); own != given->ports.end()) number = own->second;
        endpoint.target_ports.push_back(number);
      }
      if (given) {
        endpoint.weight = std::max(1u, given->weight);
        endpoint.labels = given->labels;
        if (auto mode = given->labels.find("security.istio.io/tlsMode"); mode != given->labels.end())
          endpoint.mtls = mode->second == "istio";
        if (!given->service_account.empty())
          endpoint.identity = spiffe_id(config_.trust_domain, out.ns, given->service_account);
      }
      out.endpoints.push_back(std::move(endpoint));
    };
    if (out.kind != MeshService::Kind::kNone) {
      for (size_t i = 0; i < entry.endpoints.size(); i++)
        add(entry.endpoints[i].address, fmt::format("{}-{}", entry.meta.name, i), &entry.endpoints[i]);
      if (dns && entry.endpoints.empty()) add(host, entry.meta.name, nullptr);
    }
    services_.push_back(std::move(out));
  }
}

void MeshState::finish() {
  for (auto& service : services_) {
    std::set<std::string> identities;
    for (auto& endpoint : service.endpoints) {
      if (!endpoint.identity.empty()) identities.insert(endpoint.identity);
      // A workload that refuses mTLS on all its ports is dialled in plain text.
      if (endpoint.pod && endpoint.mtls && !endpoint.target_ports.empty())
        endpoint.mtls = mtls_mode(*endpoint.pod, 0) != MtlsMode::kDisable;
    }
    service.identities.assign(identities.begin(), identities.end());
  }
}

}  // namespace pinnace::translator
