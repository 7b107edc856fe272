// Makes the cells of one cluster's stats, under Envoy's names.
#pragma once

#include <string>

#include "proxy/model/cluster.h"
#include "proxy/stats/store.h"

namespace pinnace::compile {

model::ClusterStats cluster_stats(const std::string& name, stats::Store& store);

}  // namespace pinnace::compile
