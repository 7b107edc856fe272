// MeshState: all objects of the mesh, joined: services with their endpoints and identities, rules by the hosts they
// bind to. Everything translation asks is answered from here. LIFETIME: immutable after build(); owns copies of the
// objects, so that a push may outlive the files.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "translator/fetch/resources.h"

namespace pinnace::translator {

struct MeshPort {
  std::string name;
  uint32_t number = 0;
  Protocol protocol = Protocol::kAuto;
};

struct MeshEndpoint {
  std::string address;                 // an IP, or a name to resolve
  std::vector<uint32_t> target_ports;  // parallel to the service's ports; 0: not there
  bool ready = true;
  bool health_known = false;  // Kubernetes says so; a ServiceEntry does not
  bool mtls = false;          // a proxy of the mesh stands before it
  uint32_t weight = 1;
  std::string workload;  // "name;namespace;canonical;revision;cluster"
  std::string identity;  // SPIFFE id
  const Pod* pod = nullptr;
  Labels labels;
};

struct MeshService {
  enum class Kind { kClusterIp, kHeadless, kStatic, kDns, kNone };
  std::string host, name, ns;
  Kind kind = Kind::kClusterIp;
  bool external = false;
  std::vector<std::string> addresses;  // VIPs; a CIDR only for a ServiceEntry
  std::vector<MeshPort> ports;
  std::vector<MeshEndpoint> endpoints;
  std::vector<std::string> identities;         // of the endpoints, sorted, without repetition
  std::vector<std::string> subject_alt_names;  // of the ServiceEntry
  std::vector<std::string> export_to;
  Labels selector;
  std::string file;  // where it is defined
  int line = 0;

  bool kubernetes() const { return kind == Kind::kClusterIp || kind == Kind::kHeadless; }
  // nullptr: none, or UDP only.
  const MeshPort* port(uint32_t number) const;
  bool visible_to(std::string_view other_ns) const;
};

class MeshState {
 public:
  static std::shared_ptr<const MeshState> build(const std::vector<const Object*>& objects, MeshConfig config);

  const MeshConfig& config() const { return config_; }
  const std::vector<Pod>& pods() const { return pods_; }
  const std::vector<MeshService>& services() const { return services_; }
  const std::vector<VirtualService>& virtual_services() const { return virtual_services_; }
  const std::vector<Gateway>& gateways() const { return gateways_; }

  const Pod* pod(std::string_view name, std::string_view ns) const;
  const MeshService* service(std::string_view host, std::string_view client_ns) const;
  // The rule that governs traffic of a client in `client_ns` to `service`: its own namespace's, then the service's,
  // then the root namespace's; the most specific host within one.
  const DestinationRule* destination_rule(const MeshService& service, std::string_view client_ns) const;
  // PeerAuthentication for a pod's port: workload and port, workload, namespace, mesh.
  MtlsMode mtls_mode(const Pod& pod, uint32_t port) const;
  std::map<uint32_t, MtlsMode> mtls_port_modes(const Pod& pod) const;

  // "reviews" seen from `ns` -> "reviews.ns.svc.<domain>"; names with a dot or wildcards stay.
  std::string resolve_host(std::string_view host, std::string_view ns) const;

 private:
  void add_kubernetes(const std::vector<const Object*>& objects);
  void add_service_entry(const ServiceEntry& entry);
  void finish();

  MeshConfig config_;
  std::vector<Pod> pods_;
  std::vector<MeshService> services_;
  std::vector<VirtualService> virtual_services_;
  std::vector<DestinationRule> destination_rules_;
  std::vector<Gateway> gateways_;
  std::vector<PeerAuthentication> peer_authentications_;
};

bool labels_match(const Labels& selector, const Labels& labels);
bool is_injected(const Pod& pod);  // not annotated or labelled sidecar.istio.io/inject: "false"
std::string workload_name(const Pod& pod);
std::string canonical_name(const Pod& pod);
std::string canonical_revision(const Pod& pod);
std::string spiffe_id(std::string_view trust_domain, std::string_view ns, std::string_view service_account);
bool exported_to(const std::vector<std::string>& export_to, std::string_view own_ns, std::string_view ns);

// "*.example.com" matches "a.example.com"; "*" everything.
bool host_matches(std::string_view pattern, std::string_view host);

}  // namespace pinnace::translator
