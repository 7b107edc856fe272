// RANDOM: any host with equal chance. ENVOY: weights are ignored.
#include "proxy/upstream/lb/load_balancer.h"

namespace pinnace::upstream::lb {
namespace {

class Random final : public LoadBalancer {
 public:
  Choice pick(std::span<const HostPtr> hosts, base::Rng& rng) override {
    return {hosts[rng.below(hosts.size())], "at random"};
  }
};

}  // namespace

std::unique_ptr<LoadBalancer> make_random() { return std::make_unique<Random>(); }

}  // namespace pinnace::upstream::lb
