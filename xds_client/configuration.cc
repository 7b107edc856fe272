#include "xds_client/configuration.h"

#include "xds_client/cluster_compile.h"
#include "xds_client/compile/cluster.h"

namespace pinnace::xds {

Configuration::Configuration(boost::asio::io_context& control, boost::asio::thread_pool& compiler,
                             compile::Context& context, compile::TlsRegistry& registry, Hooks hooks)
    : control_(control),
      compiler_(compiler),
      context_(context),
      hooks_(std::move(hooks)),
      secrets_(registry),
      clusters_(control, secrets_, [this] { settle(); }) {
  auto make = [&](const std::string& prefix) {
    TypeStats stats;
    stats.attempt = context.stats.counter(prefix + ".update_attempt");
    stats.success = context.stats.counter(prefix + ".update_success");
    stats.rejected = context.stats.counter(prefix + ".update_rejected");
    return stats;
  };
  cds_ = make("cluster_manager.cds");
  lds_ = make("listener_manager.lds");
  active_clusters_ = context.stats.gauge("cluster_manager.active_clusters");
  warming_clusters_ = context.stats.gauge("cluster_manager.warming_clusters");
  total_listeners_ = context.stats.gauge("listener_manager.total_listeners_active");
  warming_listeners_ = context.stats.gauge("listener_manager.total_listeners_warming");
}

Configuration::~Configuration() = default;

int64_t Configuration::now_s() const {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string Configuration::version(const std::string& type_url) const {
  auto found = versions_.find(type_url);
  return found == versions_.end() ? std::string() : found->second;
}

Result<bool> Configuration::start(const envoy::config::bootstrap::v3::Bootstrap& bootstrap,
                                  std::unique_ptr<TransportFactory> transports) {
  transports_ = std::move(transports);
  node_ = bootstrap.node();
  const auto& resources = bootstrap.static_resources();
  for (int i = 0; i < resources.clusters_size(); i++) {
    const auto& proto = resources.clusters(i);
    auto compiled = compile_cluster(proto, context_);
    if (!compiled) return error("static_resources.clusters[" + proto.name() + "]: " + compiled.error().message);
    Resource resource;
    resource.name = proto.name();
    resource.body.PackFrom(proto);
    clusters_.set(std::move(resource), std::move(*compiled), true, now_s());
  }
  for (int i = 0; i < resources.listeners_size(); i++) {
    const auto& proto = resources.listeners(i);
    auto compiled = compile::listener(proto, nullptr, context_);
    std::string place = "static_resources.listeners[" + (proto.name().empty() ? std::to_string(i) : proto.name()) + "]";
    if (!compiled) return error(place + ": " + compiled.error().message);
    ListenerEntry& entry = listeners_[compiled->config->name];
    if (entry.warming) return error(place + ": the name appears twice");
    entry.is_static = true;
    entry.warming_resource.name = compiled->config->name;
    entry.warming_resource.body.PackFrom(proto);
    entry.warming = std::move(*compiled);
    std::string failed = open_sockets(entry);
    if (!failed.empty()) return error(place + ": " + failed);
  }
  const auto& dynamic = bootstrap.dynamic_resources();
  wants_clusters_ = dynamic.has_cds_config();
  wants_listeners_ = dynamic.has_lds_config();
  if (wants_clusters_ && !dynamic.cds_config().has_ads())
    return error("dynamic_resources.cds_config: only ads is supported");
  if (wants_listeners_ && !dynamic.lds_config().has_ads())
    return error("dynamic_resources.lds_config: only ads is supported");
  if (dynamic.has_ads_config()) {
    const auto& ads = dynamic.ads_config();
    using Api = envoy::config::core::v3::ApiConfigSource;
    bool delta = ads.api_type() == Api::DELTA_GRPC || ads.api_type() == Api::AGGREGATED_DELTA_GRPC;
    bool sotw = ads.api_type() == Api::GRPC || ads.api_type() == Api::AGGREGATED_GRPC;
    if (!delta && !sotw) return error("dynamic_resources.ads_config.api_type: only GRPC and DELTA_GRPC are supported");
    if (ads.grpc_services_size() != 1 || !ads.grpc_services(0).has_envoy_grpc()) {
      return error("dynamic_resources.ads_config.grpc_services: one envoy_grpc service is needed");
    }
    std::string method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/";
    method += delta ? "DeltaAggregatedResources" : "StreamAggregatedResources";
    ads_ = std::make_unique<XdsStream>(
        control_, *transports_,
        XdsStream::Settings{"ADS", ads.grpc_services(0).envoy_grpc().cluster_name(), method, delta}, node_,
        [this](Batch batch) { on_batch(std::move(batch)); });
    if (wants_clusters_) ads_->subscription().want_all(kClusterType);
    auto connected = context_.stats.gauge("control_plane.connected_state");
    ads_->on_connected_change([this, connected](bool up) { context_.stats.set_shared(connected, up ? 1 : 0); });
  } else if (wants_clusters_ || wants_listeners_) {
    return error("dynamic_resources: cds_config and lds_config need ads_config");
  }
  settle();
  if (ads_) ads_->start();  // over clusters that are published by now
  return true;
}

void Configuration::update_wishes() {
  if (ads_) {
    Subscription& subscription = ads_->subscription();
    subscription.want(kEndpointType, clusters_.eds_names());
    if (wants_listeners_ && !listeners_asked_ && (!wants_clusters_ || (got_clusters_ && clusters_.warming() == 0))) {
      listeners_asked_ = true;
      subscription.want_all(kListenerType);
    }
    std::set<std::string> routes;
    for (const auto& [name, entry] : listeners_) {
      if (entry.active) routes.insert(entry.active->route_names.begin(), entry.active->route_names.end());
      if (entry.warming) routes.insert(entry.warming->route_names.begin(), entry.warming->route_names.end());
    }
    subscription.want(kRouteType, routes);
    std::erase_if(routes_, [&](const auto& entry) { return !routes.contains(entry.first); });
    subscription.want(kSecretType, secrets_.wanted(""));
    ads_->flush();
  }
  for (const auto& source : secrets_.sources()) {
    if (source.empty()) continue;
    for (const auto& name : secrets_.wanted(source)) {
      if (!sds_.contains({source, name})) start_sds({source, name});
    }
  }
}

void Configuration::start_sds(const Secrets::Key& key) {
  auto stream = std::make_unique<XdsStream>(
      control_, *transports_,
      XdsStream::Settings{"SDS from " + key.first + " for " + key.second, key.first,
                          "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets", false},
      node_, [this, key](Batch batch) { on_secrets(key, std::move(batch)); });
  stream->subscription().want(kSecretType, {key.second});
  stream->start();
  sds_[key] = std::move(stream);
}

void Configuration::later(uint64_t delay_ms, std::function<void()> work) {
  auto timer = std::make_shared<boost::asio::steady_timer>(control_, std::chrono::milliseconds(delay_ms));
  timer->async_wait([timer, work = std::move(work)](boost::system::error_code failed) {
    if (!failed) work();
  });
}

void Configuration::arm_deadlines() {
  for (auto [id, limit] : secrets_.take_deadlines()) {
    later(limit, [this, id = id] {
      secrets_.give_up(id);
      settle();
    });
  }
}

void Configuration::check_initialized() {
  if (initialized_ || clusters_.warming() > 0) return;
  if (wants_clusters_ && !got_clusters_) return;
  if (wants_listeners_ && !got_listeners_) return;
  for (const auto& [name, entry] : listeners_) {
    if (entry.warming) return;
  }
  initialized_ = true;
  hooks_.initialized();
}

}  // namespace pinnace::xds
