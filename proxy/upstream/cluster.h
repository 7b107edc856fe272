// Cluster: one cluster on one worker: its configuration, its hosts, and the choice among them. Keeps hosts and their
// pools across updates that leave them as they were. THREAD: the worker's.
#pragma once

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "proxy/base/event_loop.h"
#include "proxy/base/local_ref.h"
#include "proxy/http/h2/codec_stats.h"
#include "proxy/model/cluster.h"
#include "proxy/upstream/grpc_stats.h"
#include "proxy/upstream/lb/load_balancer.h"
#include "proxy/upstream/response_stats.h"

namespace pinnace::tls {
class ContextTable;
}

namespace pinnace::upstream {

// What a pick may depend on.
struct PickContext {
  const base::Address* original_destination = nullptr;  // of the downstream connection
  std::span<const Host* const> avoid;                   // hosts already tried (previous_hosts)
  uint32_t avoid_attempts = 1;                          // host_selection_retry_max_attempts
};

class Cluster {
 public:
  Cluster(base::EventLoop& loop, const tls::ContextTable& tls, model::ClusterPtr config);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  const model::ClusterPtr& config() const { return config_.shared(); }
  const base::LocalRef<model::ClusterConfig>& config_ref() const { return config_; }
  // Takes a configuration of the same name. Pools are drained when what they depend on has changed.
  void update_config(model::ClusterPtr config);
  void update_endpoints(const model::EndpointsPtr& endpoints);
  // Which host takes the next request; why says how it was chosen or why there is none.
  lb::Choice pick(const PickContext& context);

  base::EventLoop& loop() { return loop_; }
  const tls::ContextTable& tls() const { return tls_; }
  std::span<const HostPtr> hosts() const { return hosts_; }
  size_t healthy_count() const { return healthy_count_; }
  ResponseStats& responses() { return responses_; }
  // Made when the first pool asks: most clusters never speak HTTP/2.
  const std::shared_ptr<const http::h2::CodecStats>& http2_stats();
  GrpcStats& grpc() {
    if (!grpc_) grpc_ = std::make_unique<GrpcStats>(*config_->stats.store, config_->stats.prefix);
    return *grpc_;
  }

 private:
  struct PriorityLevel {
    std::vector<HostPtr> eligible;
    std::unique_ptr<lb::LoadBalancer> balancer;
    uint32_t load_percent = 0;
    bool panic = false;
  };

  void rebuild();
  lb::Choice pick_original_destination(const PickContext& context);
  void drop_host(const HostPtr& host);
  void forget_hosts();
  void on_cleanup();

  base::EventLoop& loop_;
  const tls::ContextTable& tls_;
  base::LocalRef<model::ClusterConfig> config_;
  std::vector<HostPtr> hosts_;
  std::vector<PriorityLevel> priorities_;
  std::unordered_map<base::Address, HostPtr, base::AddressHash> by_address_;
  size_t healthy_count_ = 0;
  uint32_t overprovisioning_percent_ = 140;
  ResponseStats responses_;
  std::shared_ptr<const http::h2::CodecStats> http2_stats_;
  std::unique_ptr<GrpcStats> grpc_;  // once gRPC was seen
  base::Timer cleanup_;
};

// A worker's clusters by id.
class ClusterTable {
 public:
  ClusterTable(base::EventLoop& loop, const tls::ContextTable& tls) : loop_(loop), tls_(tls) {}
  base::EventLoop& loop() { return loop_; }
  Cluster* find(uint32_t id) const { return id < clusters_.size() ? clusters_[id].get() : nullptr; }
  void set(model::ClusterPtr config);
  void set_endpoints(uint32_t id, const model::EndpointsPtr& endpoints);
  void remove(uint32_t id);
  void clear() { clusters_.clear(); }
  template <class Visit>
  void each(Visit visit) const {
    for (const auto& cluster : clusters_) {
      if (cluster) visit(*cluster);
    }
  }

 private:
  base::EventLoop& loop_;
  const tls::ContextTable& tls_;
  std::vector<std::unique_ptr<Cluster>> clusters_;
};

}  // namespace pinnace::upstream
