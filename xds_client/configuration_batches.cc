// What Configuration does with a batch: compile it away from the control thread, take what can be used, answer.
#include <algorithm>
#include <boost/asio/post.hpp>

#include "envoy/config/route/v3/route.pb.h"
#include "envoy/service/runtime/v3/rtds.pb.h"
#include "proxy/base/log.h"
#include "xds_client/cluster_compile.h"
#include "xds_client/compile/route.h"
#include "xds_client/configuration.h"

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

template <class Items>
std::string undecodable(const Items& items, const char* type) {
  std::string out;
  for (const auto& item : items) {
    if (item.undecodable)
      note(out, item.resource.name.empty() ? "a resource" : item.resource.name, std::string("no ") + type);
  }
  return out;
}

}  // namespace

void Configuration::on_batch(const model::ConfigSource& source, Batch batch) {
  if (!batch.fault.empty()) {
    if (batch.type_url == kClusterType) context_.stats.add_shared(cds_.rejected);
    if (batch.type_url == kListenerType) context_.stats.add_shared(lds_.rejected);
    give_up_on_fault(batch.type_url);
    return finish(batch, batch.fault);
  }
  if (batch.type_url == kClusterType) return apply_clusters(std::move(batch));
  if (batch.type_url == kEndpointType) return apply_endpoints(batch);
  if (batch.type_url == kRouteType) return apply_routes(source, std::move(batch));
  if (batch.type_url == kListenerType) return apply_listeners(std::move(batch));
  if (batch.type_url == kSecretType) return finish(batch, secrets_.apply(source, batch, now_s()));
  if (batch.type_url == kRuntimeType) return apply_runtime(batch);
  if (batch.type_url == kExtensionType) return apply_extensions(std::move(batch));
}

// ENVOY: an answer that cannot be understood as a whole ends the wait for the first one.
void Configuration::give_up_on_fault(const std::string& type_url) {
  if (type_url == kClusterType) got_clusters_ = true;
  if (type_url == kListenerType) got_listeners_ = true;
  if (type_url == kEndpointType) clusters_.give_up_endpoints("");
  if (type_url == kSecretType) secrets_.give_up_all();
  if (type_url == kExtensionType) extensions_.give_up_all();
  if (type_url == kRuntimeType) missing_layers_.clear();
  if (type_url == kRouteType) refuse_routes({}, "a response that cannot be understood");
  if (!begun_ && missing_layers_.empty()) begin();
}

// What waits for routes of that name, or of any when it has none.
void Configuration::refuse_routes(const Resource& resource, const std::string& why) {
  for (const auto& [name, listener] : listeners_) {
    if (!listener.warming) continue;
    for (const auto& route : listener.warming->routes) {
      if (!resource.name.empty() && route.resource.name != resource.name) continue;
      RouteEntry& entry = routes_[route.resource];
      if (!entry.delivered) entry.rejected = {resource, why, now_s()};
    }
  }
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
  if (rejected.empty() && !batch.version.empty()) versions_[batch.type_url] = batch.version;
  streams_->answer(batch, rejected);
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
      if (!item.undecodable) item.compiled = compile_cluster(proto, context_);
      items->push_back(std::move(item));
    }
    boost::asio::post(control_, [this, batch = std::move(batch), items] {
      std::string rejected;
      bool whole = std::any_of(items->begin(), items->end(), [](const auto& item) { return item.undecodable; });
      if (whole) {
        rejected = undecodable(*items, "Cluster");
      } else {
        std::set<std::string> named;
        for (auto& item : *items) {
          item.resource.name = item.name;
          if (!named.insert(item.name).second) {
            note(rejected, item.name, "the name appears twice");
          } else if (auto there = clusters_.entries().find(item.name);
                     there != clusters_.entries().end() && there->second.is_static) {
            // ENVOY: what the bootstrap says of a name stays.
            PN_LOG(kWarning, "xds", "cluster {}: ignored, the bootstrap has one of that name", item.name);
          } else if (!item.compiled) {
            note(rejected, item.name, item.compiled.error().message);
            clusters_.reject(item.resource, item.compiled.error().message, now_s());
          } else {
            clusters_.set(item.resource, std::move(*item.compiled), false, now_s());
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

// RTDS. Cells follow at once; what reads a key when it is compiled sees it from the next compilation on.
void Configuration::apply_runtime(const Batch& batch) {
  std::string rejected;
  for (const auto& resource : batch.resources) {
    envoy::service::runtime::v3::Runtime runtime;
    if (!resource.body.UnpackTo(&runtime)) {
      note(rejected, resource.name, "no Runtime");
      // ENVOY: a bad first answer does not hold the start up.
      if (resource.name.empty()) missing_layers_.clear();
      else missing_layers_.erase(resource.name);
    } else if (!context_.runtime.set_layer(runtime.name(), runtime.layer())) {
      note(rejected, runtime.name(), "no such layer in layered_runtime");
    } else {
      missing_layers_.erase(runtime.name());
    }
  }
  // A layer that is taken away has no values; the server has spoken of it, so nothing waits for it any more.
  for (const auto& name : batch.removed) {
    context_.runtime.set_layer(name, {});
    missing_layers_.erase(name);
  }
  if (!begun_ && missing_layers_.empty()) begin();
  finish(batch, rejected);
}

void Configuration::apply_extensions(Batch batch) {
  std::string undecodable;
  for (auto& resource : batch.resources) {
    envoy::config::core::v3::TypedExtensionConfig proto;
    if (!resource.body.UnpackTo(&proto)) note(undecodable, resource.name, "no TypedExtensionConfig");
    else resource.name = proto.name();
  }
  if (!undecodable.empty()) return finish(batch, undecodable);
  auto jobs = std::make_shared<std::vector<Extensions::Job>>(extensions_.jobs(batch.resources));
  boost::asio::post(compiler_, [this, batch = std::move(batch), jobs] {
    for (auto& job : *jobs) Extensions::compile(job, context_);
    boost::asio::post(control_, [this, batch, jobs] {
      std::string rejected = extensions_.take(std::move(*jobs), batch.resources, now_s());
      for (const auto& name : batch.removed) extensions_.remove(name);
      finish(batch, rejected);
      compile_new_places();  // of listeners that came while this was being compiled
    });
  });
}

// A listener that came after the configuration of its filters did.
void Configuration::compile_new_places() {
  auto jobs = std::make_shared<std::vector<Extensions::Job>>(extensions_.jobs({}));
  if (jobs->empty()) return;
  boost::asio::post(compiler_, [this, jobs] {
    for (auto& job : *jobs) Extensions::compile(job, context_);
    boost::asio::post(control_, [this, jobs] {
      extensions_.take(std::move(*jobs), {}, now_s());
      settle();
    });
  });
}

void Configuration::apply_endpoints(const Batch& batch) {
  std::string rejected;
  for (const auto& resource : batch.resources) {
    std::string wrong = clusters_.set_endpoints(resource, now_s());
    if (!wrong.empty()) note(rejected, "endpoints", wrong);
  }
  for (const auto& name : batch.removed) clusters_.remove_endpoints(name);
  finish(batch, rejected);
}

void Configuration::apply_routes(const model::ConfigSource& source, Batch batch) {
  boost::asio::post(compiler_, [this, names = clusters_.names(), source, batch = std::move(batch)]() mutable {
    context_.clusters = std::move(names);
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
    boost::asio::post(control_, [this, source, batch = std::move(batch), items] {
      std::string rejected;
      for (auto& item : *items) {
        if (item.undecodable) {
          note(rejected, item.resource.name, "no RouteConfiguration");
          refuse_routes(item.resource, "no RouteConfiguration");
          continue;
        }
        item.resource.name = item.name;
        const model::ResourceRef ref{source, item.name};
        RouteEntry& entry = routes_[ref];
        if (!item.compiled) {
          note(rejected, item.name, item.compiled.error().message);
          entry.rejected = {item.resource, item.compiled.error().message, now_s()};
          continue;
        }
        entry = {item.resource, std::move(*item.compiled), now_s(), {}, true, false};
        changed_routes_.push_back(ref);
      }
      finish(batch, rejected);
    });
  });
}

// Takes away the listeners that the push removes or, being complete, does not name; returns their sockets.
std::vector<std::shared_ptr<net::SocketSet>> Configuration::remove_listeners(const Batch& batch,
                                                                             const std::set<std::string>& present) {
  std::vector<std::string> gone = batch.removed;
  if (batch.complete) {
    for (const auto& [name, entry] : listeners_) {
      if (!entry.is_static && !present.contains(name)) gone.push_back(name);
    }
  }
  std::vector<std::shared_ptr<net::SocketSet>> left;
  for (const auto& name : gone) {
    auto found = listeners_.find(name);
    if (found == listeners_.end() || found->second.is_static) continue;
    if (found->second.active) removed_listeners_.push_back(name);
    left.push_back(std::move(found->second.sockets));
    left.push_back(std::move(found->second.warming_sockets));
    listeners_.erase(found);
  }
  return left;
}

void Configuration::apply_listeners(Batch batch) {
  context_.stats.add_shared(lds_.attempt);
  auto previous = std::make_shared<std::map<std::string, model::ListenerPtr>>();
  for (const auto& [name, entry] : listeners_) {
    if (entry.warming) (*previous)[name] = entry.warming->config;
    else if (entry.active) (*previous)[name] = entry.active->config;
  }
  boost::asio::post(compiler_, [this, names = clusters_.names(), batch = std::move(batch), previous]() mutable {
    context_.clusters = std::move(names);
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
        rejected = undecodable(*items, "Listener");
      } else {
        std::set<std::string> named, present;
        for (const auto& item : *items) present.insert(item.name);
        // Those that go make room first: what comes may have their addresses.
        auto left = remove_listeners(batch, present);
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
            wrong = open_sockets(entry, left);
            if (!wrong.empty()) entry.warming = std::move(old_warming);
          }
          if (!wrong.empty()) {
            note(rejected, item.name, wrong);
            entry.rejected = {item.resource, wrong, now_s()};
            context_.stats.add_shared(listeners_not_created_);
            continue;
          }
          entry.warming_resource = item.resource;
          entry.rejected = {};
          arm_listener(*entry.warming);
        }
      }
      context_.stats.add_shared(rejected.empty() ? lds_.success : lds_.rejected);
      got_listeners_ = true;
      finish(batch, rejected);
      compile_new_places();
    });
  });
}

}  // namespace pinnace::xds
