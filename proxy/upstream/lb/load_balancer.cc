#include "proxy/upstream/lb/load_balancer.h"

namespace pinnace::upstream::lb {

bool equal_weights(std::span<const HostPtr> hosts) {
  for (const auto& host : hosts) {
    if (host->endpoint->weight != hosts[0]->endpoint->weight) return false;
  }
  return true;
}

std::unique_ptr<LoadBalancer> make_balancer(const model::ClusterConfig& cluster, std::span<const HostPtr> hosts,
                                            base::Rng& rng) {
  switch (cluster.lb) {
    case model::LbPolicy::kRoundRobin: return make_round_robin(hosts, rng);
    case model::LbPolicy::kRandom: return make_random();
    case model::LbPolicy::kLeastRequest: return make_least_request(hosts, cluster.least_request_choices, rng);
    case model::LbPolicy::kClusterProvided: return make_round_robin(hosts, rng);  // ORIGINAL_DST never asks
  }
  return make_random();
}

}  // namespace pinnace::upstream::lb
