#include "xds_client/configuration.h"

#include <algorithm>
#include <boost/asio/post.hpp>

#include "envoy/config/route/v3/route.pb.h"
#include "proxy/base/log.h"
#include "proxy/filter/network_filter.h"
#include "xds_client/compile/route.h"

namespace pinnace::xds {

namespace {

// A resource, its own message, and what compiling it gave. The outer message not parsing rejects the whole response.
template <class Compiled>
struct Item {
  Resource resource;
  std::string name;
  bool undecodable = false;
  Result<Compiled> compiled = error("");
};

void note(std::string& rejected, const std::string& name, const std::string& why) {
  if (!rejected.empty()) rejected += "\n";
  rejected += name + ": " + why;
}

}  // namespace

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
    auto compiled = compile::cluster(proto, context_);
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
    ads_->start();
  } else if (wants_clusters_ || wants_listeners_) {
    return error("dynamic_resources: cds_config and lds_config need ads_config");
  }
  settle();
  return true;
}

void Configuration::on_batch(Batch batch) {
  if (!batch.version.empty()) versions_[batch.type_url] = batch.version;
  if (batch.type_url == kClusterType) return apply_clusters(std::move(batch));
  if (batch.type_url == kEndpointType) return apply_endpoints(std::move(batch));
  if (batch.type_url == kRouteType) return apply_routes(std::move(batch));
  if (batch.type_url == kListenerType) return apply_listeners(std::move(batch));
  if (batch.type_url == kSecretType) return finish(batch, secrets_.apply("", batch, now_s()));
}

// Publishes, then answers: an ACK means compiled and in force (or warming, with the old one still in force).
void Configuration::finish(const Batch& batch, const std::string& rejected) {
  settle();
  if (!rejected.empty()) {
    std::string line = rejected;
    std::replace(line.begin(), line.end(), '\n', ';');
    PN_LOG(kWarning, "xds", "refused ({}): {}; what was in force stays",
           batch.type_url.substr(batch.type_url.rfind('.') + 1), line);
  }
  if (ads_) {
    ads_->subscription().answer(batch, rejected);
    ads_->flush();
  }
  check_initialized();
}

void Configuration::apply_clusters(Batch batch) {
  context_.stats.add_shared(cds_.attempt);
  boost::asio::post(compiler_, [this, batch = std::move(batch)]() mutable {
    auto items = std::make_shared<std::vector<Item<compile::CompiledCluster>>>();
    for (auto& resource : batch.resources) {
      Item<compile::CompiledCluster> item;
      item.resource = resource;
      envoy::config::cluster::v3::Cluster proto;
      item.undecodable = !resource.body.UnpackTo(&proto);
      item.name = proto.name();
      if (!item.undecodable) item.compiled = compile::cluster(proto, context_);
      items->push_back(std::move(item));
    }
    boost::asio::post(control_, [this, batch = std::move(batch), items] {
      std::string rejected;
      bool whole = std::any_of(items->begin(), items->end(), [](const auto& item) { return item.undecodable; });
      if (whole) {
        rejected = "a resource that is no Cluster";
      } else {
        std::set<std::string> named;
        for (auto& item : *items) {
          item.resource.name = item.name;
          if (!named.insert(item.name).second) {
            note(rejected, item.name, "the name appears twice");
          } else if (!item.compiled) {
            note(rejected, item.name, item.compiled.error().message);
            clusters_.reject(item.resource, item.compiled.error().message, now_s());
          } else {
            uint64_t eds_timeout = item.compiled->eds_name.empty() ? 0 : item.compiled->eds_timeout_ms;
            clusters_.set(item.resource, std::move(*item.compiled), false, now_s());
            if (eds_timeout > 0) {
              later(eds_timeout, [this, name = item.name] {
                clusters_.eds_timeout(name);
                settle();
              });
            }
          }
        }
        for (const auto& name : batch.removed) clusters_.remove(name);
        if (batch.complete) {
          std::vector<std::string> gone;
          for (const auto& [name, entry] : clusters_.entries()) {
            if (!entry.is_static && !named.contains(name)) gone.push_back(name);
          }
          for (const auto& name : gone) clusters_.remove(name);
        }
      }
      context_.stats.add_shared(rejected.empty() ? cds_.success : cds_.rejected);
      got_clusters_ = true;
      finish(batch, rejected);
    });
  });
}

void Configuration::apply_endpoints(Batch batch) {
  std::string rejected;
  for (const auto& resource : batch.resources) {
    std::string wrong = clusters_.set_endpoints(resource, now_s());
    if (!wrong.empty()) note(rejected, "endpoints", wrong);
  }
  for (const auto& name : batch.removed) clusters_.remove_endpoints(name);
  finish(batch, rejected);
}

void Configuration::apply_routes(Batch batch) {
  boost::asio::post(compiler_, [this, batch = std::move(batch)]() mutable {
    auto items = std::make_shared<std::vector<Item<model::RouteConfigPtr>>>();
    for (auto& resource : batch.resources) {
      Item<model::RouteConfigPtr> item;
      item.resource = resource;
      envoy::config::route::v3::RouteConfiguration proto;
      item.undecodable = !resource.body.UnpackTo(&proto);
      item.name = proto.name();
      if (!item.undecodable) item.compiled = compile::route_config(proto, context_);
      items->push_back(std::move(item));
    }
    boost::asio::post(control_, [this, batch = std::move(batch), items] {
      std::string rejected;
      for (auto& item : *items) {
        if (item.undecodable) {
          note(rejected, item.resource.name, "no RouteConfiguration");
          continue;
        }
        item.resource.name = item.name;
        RouteEntry& entry = routes_[item.name];
        if (!item.compiled) {
          note(rejected, item.name, item.compiled.error().message);
          entry.rejected = {item.resource, item.compiled.error().message, now_s()};
          continue;
        }
        entry = {item.resource, std::move(*item.compiled), now_s(), {}, true};
        changed_routes_.push_back(item.name);
      }
      finish(batch, rejected);
    });
  });
}

void Configuration::apply_listeners(Batch batch) {
  context_.stats.add_shared(lds_.attempt);
  auto previous = std::make_shared<std::map<std::string, model::ListenerPtr>>();
  for (const auto& [name, entry] : listeners_) {
    if (entry.warming) (*previous)[name] = entry.warming->config;
    else if (entry.active) (*previous)[name] = entry.active->config;
  }
  boost::asio::post(compiler_, [this, batch = std::move(batch), previous]() mutable {
    auto items = std::make_shared<std::vector<Item<compile::CompiledListener>>>();
    for (auto& resource : batch.resources) {
      Item<compile::CompiledListener> item;
      item.resource = resource;
      envoy::config::listener::v3::Listener proto;
      item.undecodable = !resource.body.UnpackTo(&proto);
      item.name = proto.name();
      auto old = previous->find(item.name);
      if (!item.undecodable) {
        item.compiled = compile::listener(proto, old == previous->end() ? nullptr : old->second.get(), context_);
      }
      items->push_back(std::move(item));
    }
    boost::asio::post(control_, [this, batch = std::move(batch), items] {
      std::string rejected;
      bool whole = std::any_of(items->begin(), items->end(), [](const auto& item) { return item.undecodable; });
      if (whole) {
        rejected = "a resource that is no Listener";
      } else {
        std::set<std::string> named;
        for (auto& item : *items) {
          item.resource.name = item.name;
          ListenerEntry& entry = listeners_[item.name];
          std::string wrong;
          if (!named.insert(item.name).second) wrong = "the name appears twice";
          else if (!item.compiled) wrong = item.compiled.error().message;
          else if (entry.is_static) wrong = "a static listener has this name";
          if (wrong.empty()) {
            auto old_warming = std::move(entry.warming);
            entry.warming = std::move(*item.compiled);
            wrong = open_sockets(entry);
            if (!wrong.empty()) entry.warming = std::move(old_warming);
          }
          if (!wrong.empty()) {
            note(rejected, item.name, wrong);
            entry.rejected = {item.resource, wrong, now_s()};
            continue;
          }
          entry.warming_resource = item.resource;
          entry.rejected = {};
        }
        std::vector<std::string> gone = batch.removed;
        if (batch.complete) {
          for (const auto& [name, entry] : listeners_) {
            if (!entry.is_static && !named.contains(name)) gone.push_back(name);
          }
        }
        for (const auto& name : gone) {
          auto found = listeners_.find(name);
          if (found == listeners_.end() || found->second.is_static) continue;
          if (found->second.active) removed_listeners_.push_back(name);
          listeners_.erase(found);
        }
      }
      context_.stats.add_shared(rejected.empty() ? lds_.success : lds_.rejected);
      got_listeners_ = true;
      finish(batch, rejected);
    });
  });
}

void Configuration::on_secrets(const Secrets::Key& key, Batch batch) {
  std::string rejected = secrets_.apply(key.first, batch, now_s());
  settle();
  if (!rejected.empty()) PN_LOG(kWarning, "xds", "refused (Secret): {}; what was in force stays", rejected);
  auto stream = sds_.find(key);
  if (stream != sds_.end()) {
    stream->second->subscription().answer(batch, rejected);
    stream->second->flush();
  }
  check_initialized();
}

// Sockets are opened before a listener is accepted, so that an address in use is a refusal and not a surprise.
std::string Configuration::open_sockets(ListenerEntry& entry) {
  const model::ListenerConfig& config = *entry.warming->config;
  if (!config.bind_to_port) {
    return {};
  }
  if (entry.sockets && entry.active && entry.active->config->addresses == config.addresses) return {};
  for (const auto& [name, other] : listeners_) {
    if (&other == &entry || !other.sockets) continue;
    for (const auto& address : config.addresses) {
      const auto& used = other.sockets->addresses();
      if (address.port() != 0 && std::find(used.begin(), used.end(), address) != used.end()) {
        return "address " + address.text() + " is already used by listener " + name;
      }
    }
  }
  net::ListenOptions options;
  options.reuse_port = config.reuse_port;
  options.transparent = config.transparent;
  options.ipv4_compat = config.ipv4_compat;
  options.backlog = static_cast<int>(config.backlog);
  options.pipe_mode = config.pipe_mode;
  auto sockets = net::SocketSet::open(config.addresses, hooks_.workers, options);
  if (!sockets) return sockets.error().message;
  entry.sockets = std::move(*sockets);
  return {};
}

bool Configuration::listener_ready(const ListenerEntry& entry) const {
  const compile::CompiledListener& listener = *entry.warming;
  for (const auto& name : listener.route_names) {
    auto found = routes_.find(name);
    if (found == routes_.end()) return false;
    // ENVOY: refused routes are an answer too; a new listener then serves 404. One that serves already keeps its old
    // self.
    bool refused = found->second.rejected.set() && !entry.active;
    if (!found->second.delivered && !refused) return false;
  }
  return std::all_of(listener.tls_contexts.begin(), listener.tls_contexts.end(),
                     [&](uint32_t id) { return secrets_.ready(id); });
}

void Configuration::settle_listeners(model::Update& update) {
  for (auto& [name, entry] : listeners_) {
    if (!entry.warming || !listener_ready(entry)) continue;
    entry.active = std::move(entry.warming);
    entry.warming.reset();
    entry.resource = std::move(entry.warming_resource);
    entry.updated_s = now_s();
    if (!entry.active->config->bind_to_port) entry.sockets.reset();
    update.listeners.push_back({entry.active->config, entry.sockets});
  }
  update.removed_listeners = std::exchange(removed_listeners_, {});
}

void Configuration::settle() {
  auto update = std::make_shared<model::Update>();
  secrets_.settle(*update);
  clusters_.settle(*update, now_s());
  for (const auto& name : std::exchange(changed_routes_, {})) {
    auto found = routes_.find(name);
    if (found != routes_.end()) update->routes.push_back({context_.ids.routes.id(name), found->second.config});
  }
  // ENVOY: the first listeners wait until the first clusters are warm.
  settle_listeners(*update);
  if (!update->empty()) hooks_.publish(update);
  update_wishes();
  arm_deadlines();
  check_initialized();
  auto& stats = context_.stats;
  stats.set_shared(warming_clusters_, clusters_.warming());
  stats.set_shared(active_clusters_, clusters_.entries().size() - clusters_.warming());
  uint64_t active = 0, warming = 0;
  for (const auto& [name, entry] : listeners_) {
    active += entry.active.has_value();
    warming += entry.warming.has_value();
  }
  stats.set_shared(total_listeners_, active);
  stats.set_shared(warming_listeners_, warming);
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
