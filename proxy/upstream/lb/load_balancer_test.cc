// Which host is picked how often, with a seeded generator.
#include "proxy/upstream/lb/load_balancer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "proxy/upstream/lb/edf.h"
#include "proxy/upstream/pool/http_pool.h"

namespace pinnace::upstream::lb {
namespace {

using Hosts = std::vector<HostPtr>;

Hosts hosts_of(const std::vector<uint32_t>& weights) {
  Hosts hosts;
  for (uint32_t weight : weights) {
    auto endpoint = std::make_shared<model::Endpoint>();
    endpoint->weight = weight;
    endpoint->address = base::Address::ip("10.0.0.1", static_cast<uint16_t>(hosts.size() + 1)).value();
    hosts.push_back(std::make_shared<Host>(endpoint));
  }
  return hosts;
}

std::vector<int> counts_of(LoadBalancer& balancer, const Hosts& hosts, base::Rng& rng, int picks) {
  std::map<Host*, int> count;
  for (int i = 0; i < picks; i++) {
    Choice choice = balancer.pick(hosts, rng);
    EXPECT_TRUE(choice.host);
    EXPECT_STRNE(choice.why, "");
    count[choice.host.get()]++;
  }
  std::vector<int> counts;
  for (const auto& host : hosts) counts.push_back(count[host.get()]);
  return counts;
}

TEST(RoundRobinTest, takes_hosts_of_equal_weight_in_turn) {
  base::Rng rng(1);
  auto hosts = hosts_of({1, 1, 1, 1});
  auto balancer = make_round_robin(hosts, rng);
  for (int round = 0; round < 10; round++)
    EXPECT_EQ(counts_of(*balancer, hosts, rng, 4), (std::vector<int>{1, 1, 1, 1}));
}

TEST(RoundRobinTest, does_not_start_at_the_same_host_on_every_worker) {
  auto hosts = hosts_of({1, 1, 1, 1, 1, 1, 1, 1});
  std::set<Host*> first;
  for (uint64_t seed = 0; seed < 64; seed++) {
    base::Rng rng(seed);
    first.insert(make_round_robin(hosts, rng)->pick(hosts, rng).host.get());
  }
  EXPECT_GT(first.size(), 4u);
}

TEST(RoundRobinTest, follows_weights_exactly_and_spreads_them_evenly) {
  for (uint64_t seed : {1, 2, 3}) {
    base::Rng rng(seed);
    auto hosts = hosts_of({1, 2, 7});
    auto balancer = make_round_robin(hosts, rng);
    auto counts = counts_of(*balancer, hosts, rng, 1000);
    EXPECT_NEAR(counts[0], 100, 2);
    EXPECT_NEAR(counts[1], 200, 2);
    EXPECT_NEAR(counts[2], 700, 2);
    for (int window = 0; window < 20; window++) {
      auto ten = counts_of(*balancer, hosts, rng, 10);
      EXPECT_LE(std::abs(ten[0] - 1), 1) << "no clusters of one host";
      EXPECT_LE(std::abs(ten[1] - 2), 1);
      EXPECT_LE(std::abs(ten[2] - 7), 2);
    }
  }
}

TEST(RoundRobinTest, works_with_one_host_and_with_very_unequal_ones) {
  base::Rng rng(1);
  auto one = hosts_of({5});
  EXPECT_EQ(counts_of(*make_round_robin(one, rng), one, rng, 10)[0], 10);
  auto unequal = hosts_of({1, 1000});
  auto counts = counts_of(*make_round_robin(unequal, rng), unequal, rng, 10010);
  EXPECT_NEAR(counts[0], 10, 2);
}

TEST(RandomTest, reaches_every_host_about_equally) {
  base::Rng rng(1);
  auto hosts = hosts_of({1, 1, 1, 1, 1});
  for (int count : counts_of(*make_random(), hosts, rng, 10000)) EXPECT_NEAR(count, 2000, 200);
}

TEST(LeastRequestTest, prefers_the_host_with_fewer_requests) {
  base::Rng rng(1);
  auto hosts = hosts_of({1, 1});
  hosts[0]->active_requests = 10;
  auto balancer = make_least_request(hosts, 2, rng);
  auto counts = counts_of(*balancer, hosts, rng, 10000);
  // Two draws hit the busy host only when both draw it: a quarter of the time.
  EXPECT_NEAR(counts[0], 2500, 250);
  auto ten = make_least_request(hosts, 10, rng);
  EXPECT_LT(counts_of(*ten, hosts, rng, 10000)[0], 60);
}

TEST(LeastRequestTest, spreads_idle_hosts_equally) {
  base::Rng rng(1);
  auto hosts = hosts_of({1, 1, 1, 1});
  for (int count : counts_of(*make_least_request(hosts, 2, rng), hosts, rng, 10000)) EXPECT_NEAR(count, 2500, 250);
}

TEST(LeastRequestTest, weighs_unequal_hosts_by_weight_over_load) {
  base::Rng rng(1);
  auto hosts = hosts_of({1, 3});
  auto balancer = make_least_request(hosts, 2, rng);
  auto counts = counts_of(*balancer, hosts, rng, 4000);
  EXPECT_NEAR(counts[0], 1000, 20) << "idle: by weight alone";
  hosts[1]->active_requests = 2;  // 3 / (2 + 1) against 1 / 1
  counts = counts_of(*balancer, hosts, rng, 4000);
  EXPECT_NEAR(counts[0], 2000, 40);
}

TEST(MakeBalancerTest, follows_the_policy_of_the_cluster) {
  base::Rng rng(1);
  auto hosts = hosts_of({1, 1, 1});
  model::ClusterConfig cluster;
  for (auto policy : {model::LbPolicy::kRoundRobin, model::LbPolicy::kRandom, model::LbPolicy::kLeastRequest}) {
    cluster.lb = policy;
    EXPECT_TRUE(make_balancer(cluster, hosts, rng)->pick(hosts, rng).host);
  }
  EXPECT_TRUE(equal_weights(hosts));
  EXPECT_FALSE(equal_weights(hosts_of({1, 1, 2})));
  EXPECT_TRUE(equal_weights(hosts_of({})));
}

TEST(EdfTest, asks_for_the_weight_at_each_pick) {
  base::Rng rng(1);
  Edf edf;
  edf.add(0, 1, rng);
  edf.add(1, 1, rng);
  double weights[] = {1, 1};
  auto count = [&](int picks) {
    int first = 0;
    for (int i = 0; i < picks; i++) first += edf.next([&](uint32_t i) { return weights[i]; }) == 0;
    return first;
  };
  EXPECT_NEAR(count(1000), 500, 2);
  weights[0] = 4;
  EXPECT_NEAR(count(1000), 800, 5);
}

}  // namespace
}  // namespace pinnace::upstream::lb
