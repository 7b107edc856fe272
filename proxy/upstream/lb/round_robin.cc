// ROUND_ROBIN: in turn, by weight.
#include "proxy/upstream/lb/edf.h"
#include "proxy/upstream/lb/load_balancer.h"

namespace pinnace::upstream::lb {
namespace {

class RoundRobin final : public LoadBalancer {
 public:
  explicit RoundRobin(uint64_t start) : next_(start) {}
  Choice pick(std::span<const HostPtr> hosts, base::Rng&) override {
    return {hosts[next_++ % hosts.size()], "next in turn"};
  }

 private:
  uint64_t next_;
};

class WeightedRoundRobin final : public LoadBalancer {
 public:
  WeightedRoundRobin(std::span<const HostPtr> hosts, base::Rng& rng) {
    for (uint32_t i = 0; i < hosts.size(); i++) edf_.add(i, hosts[i]->endpoint->weight, rng);
  }
  Choice pick(std::span<const HostPtr> hosts, base::Rng&) override {
    uint32_t index = edf_.next([&](uint32_t i) { return static_cast<double>(hosts[i]->endpoint->weight); });
    return {hosts[index], "next in turn by weight"};
  }

 private:
  Edf edf_;
};

}  // namespace

std::unique_ptr<LoadBalancer> make_round_robin(std::span<const HostPtr> hosts, base::Rng& rng) {
  if (equal_weights(hosts)) return std::make_unique<RoundRobin>(rng.next());
  return std::make_unique<WeightedRoundRobin>(hosts, rng);
}

}  // namespace pinnace::upstream::lb
