// Compiles clusters and their endpoints. envoy.config.cluster.v3.Cluster, ClusterLoadAssignment.
// ERRORS: field path and reason; whatever would change behaviour and is not done is refused by name.
#pragma once

#include <tuple>

#include "envoy/config/cluster/v3/cluster.pb.h"
#include "envoy/config/endpoint/v3/endpoint.pb.h"
#include "proxy/model/config_source.h"
#include "xds_client/compile/context.h"

namespace pinnace::compile {

// A name to resolve, with what its addresses inherit. STRICT_DNS and LOGICAL_DNS.
struct DnsTarget {
  std::string name;
  uint16_t port = 0;
  model::Endpoint prototype;
};

// Whom to ask, and how. envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig.
struct DnsServers {
  std::string addresses;  // "1.2.3.4:53,[::1]:53"; empty: those of resolv.conf
  uint64_t timeout_ms = 2000;
  uint32_t tries = 3;
  bool tcp = false, no_search_domain = false;
  friend bool operator<(const DnsServers& a, const DnsServers& b) {
    auto key = [](const DnsServers& s) {
      return std::tie(s.addresses, s.timeout_ms, s.tries, s.tcp, s.no_search_domain);
    };
    return key(a) < key(b);
  }
};

struct DnsSettings {
  DnsServers servers;
  uint64_t refresh_ms = 5000;
  uint64_t jitter_ms = 0;
  bool respect_ttl = false;
  enum class Family : uint8_t { kAuto, kV4Only, kV6Only, kV4Preferred, kAll } family = Family::kAuto;
};

struct CompiledCluster {
  std::shared_ptr<model::ClusterConfig> config;
  model::ResourceRef eds;         // EDS: the resource to ask for; without a name otherwise
  uint64_t eds_timeout_ms = 0;    // its initial_fetch_timeout; 0: wait for ever
  model::EndpointsPtr endpoints;  // STATIC: known now
  std::vector<DnsTarget> dns_targets;
  uint32_t dns_overprovisioning_percent = 140;
  DnsSettings dns;
  std::vector<uint32_t> tls_contexts;  // what must be there before it is used
};

Result<CompiledCluster> cluster(const envoy::config::cluster::v3::Cluster& proto, Context& context);

// How much of its healthy share a priority is given. ERRORS: policy has more than that.
Result<uint32_t> overprovisioning(const envoy::config::endpoint::v3::ClusterLoadAssignment& assignment);
// All of an endpoint but where it is. STRICT_DNS and LOGICAL_DNS have names there.
Result<model::Endpoint> endpoint_without_address(const envoy::config::endpoint::v3::LbEndpoint& proto,
                                                 uint32_t priority, const std::vector<model::TransportSocket>& sockets);
// The endpoints of `assignment` for a cluster with those sockets.
Result<model::EndpointsPtr> endpoints(const envoy::config::endpoint::v3::ClusterLoadAssignment& assignment,
                                      const std::vector<model::TransportSocket>& sockets);
// The socket for an endpoint's labels: the first whose match they contain.
uint32_t select_socket(const std::vector<model::TransportSocket>& sockets, const model::MatchLabels& labels);

}  // namespace pinnace::compile
