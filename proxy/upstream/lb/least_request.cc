// LEAST_REQUEST: the least loaded of a few random hosts; with unequal weights a schedule by weight / (active + 1).
#include "proxy/upstream/lb/edf.h"
#include "proxy/upstream/lb/load_balancer.h"

namespace pinnace::upstream::lb {
namespace {

class LeastRequest final : public LoadBalancer {
 public:
  explicit LeastRequest(uint32_t choices) : choices_(choices) {}
  Choice pick(std::span<const HostPtr> hosts, base::Rng& rng) override {
    const HostPtr* best = nullptr;
    for (uint32_t i = 0; i < choices_; i++) {
      const HostPtr& host = hosts[rng.below(hosts.size())];
      if (!best || host->active_requests < (*best)->active_requests) best = &host;
    }
    return {*best, "fewest active requests of the hosts drawn"};
  }

 private:
  uint32_t choices_;
};

class WeightedLeastRequest final : public LoadBalancer {
 public:
  WeightedLeastRequest(std::span<const HostPtr> hosts, base::Rng& rng) {
    for (uint32_t i = 0; i < hosts.size(); i++) edf_.add(i, hosts[i]->endpoint->weight, rng);
  }
  Choice pick(std::span<const HostPtr> hosts, base::Rng&) override {
    uint32_t index = edf_.next([&](uint32_t i) {
      return static_cast<double>(hosts[i]->endpoint->weight) /
             (hosts[i]->active_requests + 1.0);  // active_request_bias 1
    });
    return {hosts[index], "next by weight and active requests"};
  }

 private:
  Edf edf_;
};

}  // namespace

std::unique_ptr<LoadBalancer> make_least_request(std::span<const HostPtr> hosts, uint32_t choices, base::Rng& rng) {
  if (equal_weights(hosts)) return std::make_unique<LeastRequest>(choices);
  return std::make_unique<WeightedLeastRequest>(hosts, rng);
}

}  // namespace pinnace::upstream::lb
