#include "xds_client/cluster_dns.h"

#include <algorithm>
#include <random>

#include "proxy/base/log.h"

namespace pinnace::xds {

ClusterDns::ClusterDns(boost::asio::io_context& control, DnsResolver& resolver, const compile::CompiledCluster& cluster,
                       std::function<void()> changed)
    : timer_(control),
      resolver_(resolver),
      name_(cluster.config->name),
      logical_(cluster.config->type == model::ClusterType::kLogicalDns),
      targets_(cluster.dns_targets),
      settings_(cluster.dns),
      overprovisioning_percent_(cluster.dns_overprovisioning_percent),
      changed_(std::move(changed)),
      rng_(std::random_device{}()),
      answers_(targets_.size()) {}

void ClusterDns::resolve() {
  pending_ = targets_.size();
  least_ttl_s_ = 0;
  for (size_t i = 0; i < targets_.size(); i++) {
    resolver_.resolve(targets_[i].name, settings_, [weak = weak_from_this(), i](const DnsAnswer& answer) {
      if (auto alive = weak.lock()) alive->take(i, answer);
    });
  }
}

void ClusterDns::take(size_t target, const DnsAnswer& answer) {
  if (answer.addresses.empty()) {
    PN_LOG(kWarning, "dns", "cluster {}: {}: {}", name_, targets_[target].name, answer.failure);
  }
  // ENVOY: a name without addresses has no endpoints, but the one of LOGICAL_DNS stays.
  if (answer.ok && !(logical_ && answer.addresses.empty())) {
    auto& known = answers_[target];
    auto addresses = answer.addresses;
    // UNLIKE ENVOY: of names whose addresses rotate the one in use stays while it is among them, so that its
    // connections do.
    if (logical_ && !known.empty()) {
      auto same = std::find(addresses.begin(), addresses.end(), known.front());
      if (same != addresses.end()) std::iter_swap(addresses.begin(), same);
    }
    known = std::move(addresses);
    if (answer.ttl_s > 0 && (least_ttl_s_ == 0 || answer.ttl_s < least_ttl_s_)) least_ttl_s_ = answer.ttl_s;
  }  // ENVOY: else it keeps the addresses it had
  if (--pending_ == 0) round_done();
}

void ClusterDns::round_done() {
  answered_ = true;
  uint64_t delay = settings_.refresh_ms;
  if (settings_.respect_ttl && least_ttl_s_ > 0) delay = least_ttl_s_ * 1000;
  if (settings_.jitter_ms > 0) delay += rng_.below(settings_.jitter_ms);
  timer_.expires_after(std::chrono::milliseconds(std::max<uint64_t>(delay, 100)));
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code failed) {
    auto alive = weak.lock();
    if (!failed && alive) alive->resolve();
  });
  changed_();
}

model::EndpointsPtr ClusterDns::endpoints() const {
  auto set = std::make_shared<model::EndpointSet>();
  set->overprovisioning_percent = overprovisioning_percent_;
  for (size_t i = 0; i < targets_.size(); i++) {
    for (const auto& address : answers_[i]) {
      auto endpoint = std::make_shared<model::Endpoint>(targets_[i].prototype);
      endpoint->address = address.with_port(targets_[i].port);
      endpoint->text = endpoint->address.text();
      set->endpoints.push_back(std::move(endpoint));
      if (logical_) break;
    }
  }
  return set;
}

}  // namespace pinnace::xds
