// Compiles what STRICT_DNS and LOGICAL_DNS clusters ask and whom. envoy.config.cluster.v3.Cluster: load_assignment,
// dns_*, typed_dns_resolver_config. ERRORS: field path and reason.
#pragma once

#include "xds_client/compile/cluster.h"

namespace pinnace::compile {

Result<DnsSettings> dns_settings(const envoy::config::cluster::v3::Cluster& proto);
// Into `out`, whose sockets are known.
Result<bool> dns_targets(const envoy::config::cluster::v3::Cluster& proto, CompiledCluster& out);

}  // namespace pinnace::compile
