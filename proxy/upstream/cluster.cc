#include "proxy/upstream/cluster.h"

#include <algorithm>

#include "proxy/upstream/lb/priorities.h"
#include "proxy/upstream/pool/http_pool.h"

namespace pinnace::upstream {

using model::ClusterType;

Cluster::Cluster(base::EventLoop& loop, const tls::ContextTable& tls, model::ClusterPtr config)
    : loop_(loop), tls_(tls), config_(std::move(config)), responses_(*config_->stats.store, config_->stats.prefix) {
  cleanup_.init(
      loop.timers(), [](void* self) { static_cast<Cluster*>(self)->on_cleanup(); }, this);
  if (config_->type == ClusterType::kOriginalDst) cleanup_.arm(config_->cleanup_interval_ms);
}

Cluster::~Cluster() { forget_hosts(); }

void Cluster::forget_hosts() {
  for (auto& [address, host] : by_address_) drop_host(host);
  by_address_.clear();
  hosts_.clear();
}

void Cluster::update_config(model::ClusterPtr config) {
  bool same = config->content_hash == config_->content_hash;
  bool by_destination = config_->type == ClusterType::kOriginalDst;
  config_ = base::LocalRef<model::ClusterConfig>(std::move(config));
  if (same) return;
  // Hosts made for a destination know the sockets of their time, and those of endpoints are no use for a destination.
  if (by_destination || config_->type == ClusterType::kOriginalDst) forget_hosts();
  if (config_->type == ClusterType::kOriginalDst) {
    cleanup_.arm(config_->cleanup_interval_ms);
  } else {
    cleanup_.cancel();
  }
  responses_ = ResponseStats(*config_->stats.store, config_->stats.prefix);
  grpc_.reset();
  http2_stats_.reset();
  for (auto& [address, host] : by_address_) {
    for (auto& pool : host->pools) pool->retire();
  }
  rebuild();
}

const std::shared_ptr<const http::h2::CodecStats>& Cluster::http2_stats() {
  if (!http2_stats_) {
    const model::ClusterStats& stats = config_->stats;
    http2_stats_ =
        std::make_shared<http::h2::CodecStats>(http::h2::make_codec_stats(*stats.store, stats.prefix + "http2."));
  }
  return http2_stats_;
}

void Cluster::update_endpoints(const model::EndpointsPtr& endpoints) {
  std::vector<HostPtr> hosts;
  std::unordered_map<base::Address, HostPtr, base::AddressHash> by_address;
  hosts.reserve(endpoints->endpoints.size());
  for (const auto& endpoint : endpoints->endpoints) {
    if (by_address.contains(endpoint->address)) continue;  // ENVOY: the first of equal addresses counts
    HostPtr host;
    auto found = by_address_.find(endpoint->address);
    if (found != by_address_.end()) {
      host = found->second;
      if (host->endpoint->socket != endpoint->socket || host->endpoint->hostname != endpoint->hostname) {
        for (auto& pool : host->pools) pool->retire();
      }
      host->endpoint = endpoint;
    } else {
      host = std::make_shared<Host>(endpoint);
    }
    by_address.emplace(endpoint->address, host);
    hosts.push_back(std::move(host));
  }
  for (auto& [address, host] : by_address_) {
    if (!by_address.contains(address)) drop_host(host);
  }
  hosts_ = std::move(hosts);
  by_address_ = std::move(by_address);
  overprovisioning_percent_ = endpoints->overprovisioning_percent;
  rebuild();
}

void Cluster::drop_host(const HostPtr& host) {
  host->removed = true;
  for (auto& pool : host->pools) pool->retire();
}

void Cluster::rebuild() {
  priorities_.clear();
  healthy_count_ = 0;
  uint32_t levels = 0;
  for (const auto& host : hosts_) levels = std::max(levels, host->endpoint->priority + 1);
  priorities_.resize(levels);
  std::vector<lb::LevelHosts> counts(levels);
  for (const auto& host : hosts_) {
    counts[host->endpoint->priority].all++;
    if (host->endpoint->healthy) counts[host->endpoint->priority].healthy++;
  }
  auto loads = lb::split_load(counts, overprovisioning_percent_, config_->healthy_panic_percent);
  for (uint32_t level = 0; level < levels; level++) {
    PriorityLevel& here = priorities_[level];
    here.load_percent = loads[level].percent;
    here.panic = loads[level].panic;
    healthy_count_ += counts[level].healthy;
    for (const auto& host : hosts_) {
      if (host->endpoint->priority == level && (here.panic || host->endpoint->healthy)) here.eligible.push_back(host);
    }
    if (!here.eligible.empty()) here.balancer = lb::make_balancer(*config_, here.eligible, loop_.rng());
  }
}

lb::Choice Cluster::pick(const PickContext& context) {
  if (config_->type == ClusterType::kOriginalDst) return pick_original_destination(context);
  if (priorities_.empty()) return {nullptr, "the cluster has no endpoints"};
  PriorityLevel* level = &priorities_[0];
  if (priorities_.size() > 1) {
    uint64_t at = loop_.rng().below(100);
    for (auto& candidate : priorities_) {
      level = &candidate;
      if (at < candidate.load_percent) break;
      at -= candidate.load_percent;
    }
  }
  if (!level->balancer) return {nullptr, "no endpoint is healthy"};
  if (level->panic) loop_.cells().add(config_->stats.lb_healthy_panic);
  lb::Choice choice = level->balancer->pick(level->eligible, loop_.rng());
  for (uint32_t i = 0; i < context.avoid_attempts && !context.avoid.empty(); i++) {
    if (std::find(context.avoid.begin(), context.avoid.end(), choice.host.get()) == context.avoid.end()) break;
    choice = level->balancer->pick(level->eligible, loop_.rng());
  }
  return choice;
}

lb::Choice Cluster::pick_original_destination(const PickContext& context) {
  if (!context.original_destination || !context.original_destination->is_ip()) {
    loop_.cells().add(config_->stats.original_dst_host_invalid);
    return {nullptr, "the connection was not redirected, so it has no original destination"};
  }
  base::Address address = *context.original_destination;
  if (config_->original_dst_port) address.set_port(*config_->original_dst_port);
  auto found = by_address_.find(address);
  if (found == by_address_.end()) {
    auto endpoint = std::make_shared<model::Endpoint>();
    endpoint->address = address;
    endpoint->text = address.text();
    endpoint->socket = static_cast<uint32_t>(config_->sockets.size() - 1);  // no metadata: the default socket
    auto host = std::make_shared<Host>(std::move(endpoint));
    found = by_address_.emplace(address, std::move(host)).first;
  }
  found->second->last_used_ms = loop_.now_ms();
  return {found->second, "the original destination"};
}

void Cluster::on_cleanup() {
  cleanup_.arm(config_->cleanup_interval_ms);
  uint64_t now = loop_.now_ms();
  for (auto at = by_address_.begin(); at != by_address_.end();) {
    const HostPtr& host = at->second;
    bool unused = host->active_connections == 0 && now - host->last_used_ms >= config_->cleanup_interval_ms;
    at = unused ? by_address_.erase(at) : std::next(at);
  }
}

void ClusterTable::set(model::ClusterPtr config) {
  uint32_t id = config->id;
  if (id >= clusters_.size()) clusters_.resize(id + 1);
  if (clusters_[id]) {
    clusters_[id]->update_config(std::move(config));
  } else {
    clusters_[id] = std::make_unique<Cluster>(loop_, tls_, std::move(config));
  }
}

void ClusterTable::set_endpoints(uint32_t id, const model::EndpointsPtr& endpoints) {
  if (Cluster* cluster = find(id)) cluster->update_endpoints(endpoints);
}

void ClusterTable::remove(uint32_t id) {
  if (id < clusters_.size()) clusters_[id].reset();
}

}  // namespace pinnace::upstream
