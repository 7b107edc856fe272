// Load balancing: which host takes the next request. pick() is a function of (hosts, policy state, rng) and says why.
// Policies are Envoy's: ROUND_ROBIN and LEAST_REQUEST turn to an earliest-deadline schedule when weights differ.
// THREAD: one worker; state is never shared. One file per policy in this folder.
#pragma once

#include <memory>
#include <span>

#include "proxy/base/rng.h"
#include "proxy/upstream/host.h"

namespace pinnace::upstream::lb {

struct Choice {
  HostPtr host;          // nullptr: no host can take it
  const char* why = "";  // for explain and logs
};

class LoadBalancer {
 public:
  virtual ~LoadBalancer() = default;
  // REQUIRES: hosts is not empty.
  virtual Choice pick(std::span<const HostPtr> hosts, base::Rng& rng) = 0;
};

// A fresh balancer for `hosts` as they are now; made again when they change.
std::unique_ptr<LoadBalancer> make_balancer(const model::ClusterConfig& cluster, std::span<const HostPtr> hosts,
                                            base::Rng& rng);

std::unique_ptr<LoadBalancer> make_round_robin(std::span<const HostPtr> hosts, base::Rng& rng);
std::unique_ptr<LoadBalancer> make_random();
std::unique_ptr<LoadBalancer> make_least_request(std::span<const HostPtr> hosts, uint32_t choices, base::Rng& rng);

bool equal_weights(std::span<const HostPtr> hosts);

}  // namespace pinnace::upstream::lb
