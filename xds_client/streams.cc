#include "xds_client/streams.h"

#include <boost/asio/post.hpp>

namespace pinnace::xds {
namespace {

constexpr const char* kAll = "*";

struct Service {
  const char* type;
  const char* label;
  const char* service;
  const char* plural;  // of its methods: Stream…, Delta…
};
constexpr Service kServices[] = {
    {kClusterType, "CDS", "envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"},
    {kEndpointType, "EDS", "envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"},
    {kListenerType, "LDS", "envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"},
    {kRouteType, "RDS", "envoy.service.route.v3.RouteDiscoveryService", "Routes"},
    {kSecretType, "SDS", "envoy.service.secret.v3.SecretDiscoveryService", "Secrets"},
    {kRuntimeType, "RTDS", "envoy.service.runtime.v3.RuntimeDiscoveryService", "Runtime"},
    {kExtensionType, "ECDS", "envoy.service.extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs"},
};

const Service& service_of(const std::string& type_url) {
  const auto* at = kServices;
  while (type_url != at->type) ++at;  // REQUIRES: one of them
  return *at;
}

}  // namespace

Streams::Streams(boost::asio::io_context& control, TransportFactory& transports, envoy::config::core::v3::Node node,
                 OnBatch on_batch)
    : control_(control), transports_(transports), node_(std::move(node)), on_batch_(std::move(on_batch)) {}

Streams::~Streams() = default;

std::unique_ptr<XdsStream> Streams::make(XdsStream::Settings settings, const model::ConfigSource& source) {
  settings.id = ++last_id_;
  return std::make_unique<XdsStream>(control_, transports_, std::move(settings), node_,
                                     [this, source](Batch batch) { on_batch_(source, std::move(batch)); });
}

void Streams::set_ads(const model::ConfigSource& source, std::function<void(bool)> connected) {
  std::string method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/";
  method += source.delta ? "DeltaAggregatedResources" : "StreamAggregatedResources";
  ads_ = make({.label = "ADS", .cluster = source.cluster, .method = method, .delta = source.delta}, {});
  ads_->subscription().set_order(
      {kRuntimeType, kClusterType, kEndpointType, kListenerType, kRouteType, kSecretType, kExtensionType});
  ads_->on_connected_change(std::move(connected));
}

void Streams::open(const Key& key) {
  const auto& [source, type, name] = key;
  const Service& service = service_of(type);
  XdsStream::Settings settings;
  settings.label = std::string(service.label) + " from " + source.cluster;
  if (name != kAll) settings.label += " for " + name;
  settings.cluster = source.cluster;
  settings.method = std::string("/") + service.service + "/" + (source.delta ? "Delta" : "Stream") + service.plural;
  settings.delta = source.delta;
  auto stream = make(std::move(settings), source);
  if (name == kAll) stream->subscription().want_all(type);
  else stream->subscription().want(type, {name});
  if (started_) stream->start();
  own_[key] = std::move(stream);
}

void Streams::want_all(const model::ConfigSource& source, const std::string& type_url) {
  if (source.ads()) {
    if (ads_) ads_->subscription().want_all(type_url);
  } else if (Key key{source, type_url, kAll}; !own_.contains(key)) {
    open(key);
  }
}

void Streams::want(const std::string& type_url, const std::set<model::ResourceRef>& resources) {
  std::set<std::string> over_ads;
  for (const auto& [source, name] : resources) {
    if (source.ads()) over_ads.insert(name);
    else if (Key key{source, type_url, name}; !own_.contains(key)) open(key);
  }
  if (ads_) ads_->subscription().want(type_url, over_ads);
  for (auto at = own_.begin(); at != own_.end();) {
    const auto& [source, type, name] = at->first;
    if (type == type_url && name != kAll && !resources.contains({source, name})) {
      doomed_->push_back(std::move(at->second));
      at = own_.erase(at);
    } else {
      ++at;
    }
  }
  if (doomed_->empty()) return;
  // Not now: we may be in a call from one of them.
  boost::asio::post(control_, [doomed = std::weak_ptr(doomed_)] {
    if (auto streams = doomed.lock()) streams->clear();
  });
}

void Streams::start() {
  started_ = true;
  if (ads_) ads_->start();
  for (auto& [key, stream] : own_) stream->start();
}

void Streams::answer(const Batch& batch, const std::string& rejected) {
  XdsStream* stream = ads_ && ads_->id() == batch.origin ? ads_.get() : nullptr;
  for (auto& [key, own] : own_) {
    if (own->id() == batch.origin) stream = own.get();
  }
  if (!stream) return;
  stream->subscription().answer(batch, rejected);
  stream->flush();
}

void Streams::flush() {
  if (ads_) ads_->flush();
}

}  // namespace pinnace::xds
