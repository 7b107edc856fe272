// A cluster with its filters: compile/cluster.h knows the cluster, the registry the filters. THREAD: the compile
// thread.
#pragma once

#include "envoy/config/cluster/v3/cluster.pb.h"
#include "xds_client/compile/cluster.h"

namespace pinnace::xds {

// ERRORS: name the field.
Result<compile::CompiledCluster> compile_cluster(const envoy::config::cluster::v3::Cluster& proto,
                                                 compile::Context& context);

}  // namespace pinnace::xds
