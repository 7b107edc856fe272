// How Configuration puts into force what has become complete: sockets, warming and publication.
#include <algorithm>

#include "xds_client/configuration.h"

namespace pinnace::xds {

// Sockets are opened before a listener is accepted, so that an address in use is a refusal and not a surprise.
std::string Configuration::open_sockets(ListenerEntry& entry, std::vector<std::shared_ptr<net::SocketSet>>& left) {
  const model::ListenerConfig& config = *entry.warming->config;
  if (!config.bind_to_port) {
    entry.warming_sockets = nullptr;
    return {};
  }
  net::ListenOptions options;
  options.reuse_port = config.reuse_port;
  options.transparent = config.transparent;
  options.ipv4_compat = config.ipv4_compat;
  options.pipe_mode = config.pipe_mode;
  std::vector<std::shared_ptr<net::SocketSet>> there = {entry.sockets, entry.warming_sockets};
  there.insert(there.end(), left.begin(), left.end());
  std::vector<base::Address> ours;  // which we may bind a second time
  for (const auto& sockets : there) {
    if (!sockets) continue;
    ours.insert(ours.end(), sockets->addresses().begin(), sockets->addresses().end());
    if (sockets->wanted() != config.addresses) continue;
    if (sockets->options() != options) {
      return "its address is bound with another mode, transparent, enable_reuse_port or ipv4_compat, which cannot be "
             "changed while it is";
    }
    entry.warming_sockets = sockets;
    std::erase(left, sockets);  // one heir
    return {};
  }
  for (const auto& [name, other] : listeners_) {
    if (&other == &entry) continue;
    for (const auto* sockets : {&other.sockets, &other.warming_sockets}) {
      if (!*sockets) continue;
      const auto& used = (*sockets)->addresses();
      for (const auto& address : config.addresses) {
        if (address.port() != 0 && std::find(used.begin(), used.end(), address) != used.end()) {
          return "address " + address.text() + " is already used by listener " + name;
        }
      }
    }
  }
  auto sockets = net::SocketSet::open(config.addresses, hooks_.workers, options, ours);
  if (!sockets) return sockets.error().message;
  entry.warming_sockets = std::move(*sockets);
  return {};
}

bool Configuration::listener_ready(const ListenerEntry& entry) const {
  const compile::CompiledListener& listener = *entry.warming;
  for (const auto& route : listener.routes) {
    auto found = routes_.find(route.resource);
    if (found == routes_.end()) return false;
    if (found->second.given_up) continue;  // ENVOY: it serves 404
    // ENVOY: refused routes are an answer too; a new listener then serves 404. One that serves already keeps its old
    // self.
    bool refused = found->second.rejected.set() && !entry.active;
    if (!found->second.delivered && !refused) return false;
  }
  if (!std::all_of(listener.extensions.begin(), listener.extensions.end(),
                   [&](const auto& place) { return extensions_.ready(place, entry.active.has_value()); })) {
    return false;
  }
  return std::all_of(listener.tls_contexts.begin(), listener.tls_contexts.end(),
                     [&](uint32_t id) { return secrets_.ready(id); });
}

void Configuration::settle_listeners(model::Update& update) {
  for (auto& [name, entry] : listeners_) {
    if (!entry.warming || !listener_ready(entry)) continue;
    context_.stats.add_shared(entry.active ? lds_.modified : lds_.added);
    context_.stats.add_shared(listeners_created_, hooks_.workers);
    entry.active = std::move(entry.warming);
    entry.warming.reset();
    entry.resource = std::move(entry.warming_resource);
    entry.updated_s = now_s();
    entry.sockets = std::exchange(entry.warming_sockets, nullptr);
    update.listeners.push_back({entry.active->config, entry.sockets});
  }
  context_.stats.add_shared(lds_.removed, removed_listeners_.size());
  update.removed_listeners = std::exchange(removed_listeners_, {});
}

void Configuration::settle() {
  auto update = std::make_shared<model::Update>();
  std::set<uint32_t> used = clusters_.tls_contexts();
  for (const auto& [name, entry] : listeners_) {
    for (const auto* version : {&entry.active, &entry.warming}) {
      if (*version) used.insert((*version)->tls_contexts.begin(), (*version)->tls_contexts.end());
    }
  }
  secrets_.set_used(std::move(used));
  secrets_.settle(*update);
  clusters_.settle(*update, now_s());
  for (const auto& ref : std::exchange(changed_routes_, {})) {
    auto found = routes_.find(ref);
    if (found != routes_.end())
      update->routes.push_back({context_.ids.routes.id(model::full_name(ref)), found->second.config});
  }
  extensions_.settle(*update);
  // ENVOY: the first listeners wait until the first clusters are warm.
  settle_listeners(*update);
  if (!update->empty()) hooks_.publish(update);
  update_wishes();
  arm_deadlines();
  check_initialized();
  auto& stats = context_.stats;
  auto changes = clusters_.take_changes();
  stats.add_shared(cds_.added, changes.added);
  stats.add_shared(cds_.modified, changes.modified);
  stats.add_shared(cds_.removed, changes.removed);
  stats.set_shared(warming_clusters_, clusters_.warming());
  stats.set_shared(active_clusters_, clusters_.active());
  uint64_t active = 0, warming = 0;
  for (const auto& [name, entry] : listeners_) {
    active += entry.active.has_value();
    warming += entry.warming.has_value();
  }
  stats.set_shared(total_listeners_, active);
  stats.set_shared(warming_listeners_, warming);
}

}  // namespace pinnace::xds
