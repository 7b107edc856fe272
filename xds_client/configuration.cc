#include "xds_client/configuration.h"

#include <algorithm>

#include "proxy/base/log.h"
#include "xds_client/cluster_compile.h"
#include "xds_client/compile/cluster.h"
#include "xds_client/compile/config_source.h"

namespace pinnace::xds {

Configuration::Configuration(boost::asio::io_context& control, boost::asio::thread_pool& compiler,
                             compile::Context& context, compile::TlsRegistry& registry, Hooks hooks)
    : control_(control),
      compiler_(compiler),
      context_(context),
      hooks_(std::move(hooks)),
      secrets_(registry),
      clusters_(control, secrets_, [this] { settle(); }) {
  auto make = [&](const std::string& manager, const std::string& type, const std::string& one) {
    std::string prefix = manager + "." + type;
    TypeStats stats;
    stats.attempt = context.stats.counter(prefix + ".update_attempt");
    stats.success = context.stats.counter(prefix + ".update_success");
    stats.rejected = context.stats.counter(prefix + ".update_rejected");
    stats.failure = context.stats.counter(prefix + ".update_failure");
    stats.added = context.stats.counter(manager + "." + one + "_added");
    stats.modified = context.stats.counter(manager + "." + one + "_modified");
    stats.removed = context.stats.counter(manager + "." + one + "_removed");
    return stats;
  };
  cds_ = make("cluster_manager", "cds", "cluster");
  lds_ = make("listener_manager", "lds", "listener");
  listeners_created_ = context.stats.counter("listener_manager.listener_create_success");
  listeners_not_created_ = context.stats.counter("listener_manager.listener_create_failure");
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

Result<bool> Configuration::add_static(const envoy::config::bootstrap::v3::Bootstrap::StaticResources& resources) {
  for (int i = 0; i < resources.clusters_size(); i++) {
    const auto& proto = resources.clusters(i);
    auto compiled = compile_cluster(proto, context_);
    if (!compiled) return error("static_resources.clusters[" + proto.name() + "]: " + compiled.error().message);
    Resource resource;
    resource.name = proto.name();
    resource.body.PackFrom(proto);
    clusters_.set(std::move(resource), std::move(*compiled), true, now_s());
  }
  context_.clusters = clusters_.names();
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
    arm_listener(*entry.warming);
    std::vector<std::shared_ptr<net::SocketSet>> none;
    std::string failed = open_sockets(entry, none);
    if (!failed.empty()) return error(fmt::format("{}: {}", place, failed));
  }
  return true;
}

Result<bool> Configuration::start(const envoy::config::bootstrap::v3::Bootstrap& bootstrap,
                                  std::unique_ptr<TransportFactory> transports) {
  transports_ = std::move(transports);
  auto added = add_static(bootstrap.static_resources());
  if (!added) return added.error();
  streams_ = std::make_unique<Streams>(
      control_, *transports_, bootstrap.node(),
      [this](const model::ConfigSource& source, Batch batch) { on_batch(source, std::move(batch)); });
  const auto& dynamic = bootstrap.dynamic_resources();
  if (dynamic.has_ads_config()) {
    auto ads = compile::api_config_source(dynamic.ads_config());
    if (!ads) return error("dynamic_resources.ads_config." + ads.error().message);
    auto connected = context_.stats.gauge("control_plane.connected_state");
    streams_->set_ads(*ads, [this, connected](bool up) {
      context_.stats.set_shared(connected, up ? 1 : 0);
      if (up) return;
      context_.stats.add_shared(cds_.failure);
      context_.stats.add_shared(lds_.failure);
    });
  }
  using Source = envoy::config::core::v3::ConfigSource;
  auto source = [&](const char* field, bool has, const Source& proto, auto& out) -> Result<bool> {
    if (!has) return true;
    auto compiled = compile::config_source(proto);
    std::string place = std::string("dynamic_resources.") + field;
    if (!compiled) return error(place + ": " + compiled.error().message);
    if (compiled->ads() && !streams_->has_ads()) return error(place + ": ads needs ads_config");
    out = std::move(*compiled);
    return true;
  };
  auto cds = source("cds_config", dynamic.has_cds_config(), dynamic.cds_config(), cds_source_);
  if (!cds) return cds.error();
  cds_timeout_ms_ = compile::fetch_timeout_ms(dynamic.cds_config());
  lds_timeout_ms_ = compile::fetch_timeout_ms(dynamic.lds_config());
  auto lds = source("lds_config", dynamic.has_lds_config(), dynamic.lds_config(), lds_source_);
  if (!lds) return lds.error();
  for (const auto& layer : context_.runtime.wanted()) missing_layers_.insert(layer.name);
  streams_->want(kRuntimeType, context_.runtime.wanted());
  if (missing_layers_.empty()) {
    begin();
  } else if (uint64_t limit = context_.runtime.fetch_timeout_ms()) {
    later(limit, [this] {
      if (begun_) return;
      PN_LOG(kWarning, "xds", "runtime layer {} has not come in time; going on without it", *missing_layers_.begin());
      missing_layers_.clear();
      begin();
    });
  }
  settle();
  streams_->start();  // over clusters that are published by now
  return true;
}

// ENVOY: clusters, and so everything else, are asked for once the runtime layers of RTDS are there.
void Configuration::begin() {
  begun_ = true;
  if (cds_source_) {
    streams_->want_all(*cds_source_, kClusterType);
    give_up_later(kClusterType, cds_timeout_ms_, got_clusters_);
  }
  settle();
}

// initial_fetch_timeout of cds_config and lds_config: the start goes on without.
void Configuration::give_up_later(const char* type_url, uint64_t limit_ms, bool& got) {
  if (limit_ms == 0) return;
  later(limit_ms, [this, type_url, &got] {
    if (got) return;
    got = true;
    PN_LOG(kWarning, "xds", "no {} within initial_fetch_timeout; going on without", type_url);
    settle();
  });
}

void Configuration::update_wishes() {
  if (!streams_ || !begun_) return;
  clusters_.drop_unwanted();
  streams_->want(kEndpointType, clusters_.wanted());
  if (lds_source_ && !listeners_asked_ && (!cds_source_ || (got_clusters_ && clusters_.warming() == 0))) {
    listeners_asked_ = true;
    streams_->want_all(*lds_source_, kListenerType);
    give_up_later(kListenerType, lds_timeout_ms_, got_listeners_);
  }
  std::set<model::ResourceRef> routes;
  for (const auto& [name, entry] : listeners_) {
    for (const auto* version : {&entry.active, &entry.warming}) {
      if (!*version) continue;
      for (const auto& route : (*version)->routes) routes.insert(route.resource);
    }
  }
  streams_->want(kRouteType, routes);
  std::erase_if(routes_, [&](const auto& entry) { return !routes.contains(entry.first); });
  streams_->want(kSecretType, secrets_.wanted());
  std::vector<model::ExtensionPlace> places;
  for (const auto& [name, entry] : listeners_) {
    for (const auto* version : {&entry.active, &entry.warming}) {
      if (*version) places.insert(places.end(), (*version)->extensions.begin(), (*version)->extensions.end());
    }
  }
  extensions_.set_places(places);
  streams_->want(kExtensionType, extensions_.wanted());
  streams_->flush();
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
      if (secrets_.give_up(id)) settle();
    });
  }
  std::map<uint64_t, std::vector<Clusters::Deadline>> waiting;  // a timer for all that began at once
  for (auto& deadline : clusters_.take_deadlines()) waiting[deadline.limit_ms].push_back(std::move(deadline));
  for (auto& [limit, deadlines] : waiting) {
    later(limit, [this, deadlines = std::move(deadlines)] {
      bool changed = false;
      for (const auto& deadline : deadlines) changed = clusters_.eds_timeout(deadline) || changed;
      if (changed) settle();
    });
  }
}

// initial_fetch_timeout of what a listener waits for.
void Configuration::arm_listener(const compile::CompiledListener& listener) {
  for (const auto& route : listener.routes) {
    if (route.fetch_timeout_ms == 0) continue;
    later(route.fetch_timeout_ms, [this, ref = route.resource] {
      auto waited = routes_.find(ref);
      bool wanted = std::any_of(listeners_.begin(), listeners_.end(), [&](const auto& each) {
        if (!each.second.warming) return false;
        const auto& routes = each.second.warming->routes;
        return std::any_of(routes.begin(), routes.end(), [&](const auto& one) { return one.resource == ref; });
      });
      if (!wanted || (waited != routes_.end() && (waited->second.delivered || waited->second.given_up))) return;
      routes_[ref].given_up = true;
      PN_LOG(kWarning, "xds", "no routes {} within initial_fetch_timeout; their listener serves 404", ref.name);
      settle();
    });
  }
  for (const auto& place : listener.extensions) {
    extensions_.expect(place);
    if (!place.waits || place.fetch_timeout_ms == 0) continue;
    later(place.fetch_timeout_ms, [this, id = place.id] {
      if (extensions_.give_up(id)) settle();
    });
  }
}

void Configuration::check_initialized() {
  if (initialized_ || !begun_ || clusters_.warming() > 0) return;
  if (cds_source_ && !got_clusters_) return;
  if (lds_source_ && !got_listeners_) return;
  for (const auto& [name, entry] : listeners_) {
    if (entry.warming) return;
  }
  initialized_ = true;
  hooks_.initialized();
}

}  // namespace pinnace::xds
