#include "translator/distribute/subscription.h"

#include <algorithm>

#include "envoy/config/endpoint/v3/endpoint.pb.h"
#include "envoy/config/route/v3/route.pb.h"
#include "translator/translate/proto.h"

namespace pinnace::translator {
namespace {

bool is_wildcard_type(Type type) { return type == Type::kCluster || type == Type::kListener; }

const Resources& all(const View& view, Type type) { return (*view.resources)[static_cast<size_t>(type)]; }

}  // namespace

std::optional<Type> type_of(std::string_view url) {
  for (size_t i = 0; i < kTypes; i++)
    if (kTypeUrls[i] == url) return static_cast<Type>(i);
  return std::nullopt;
}

std::optional<Resource> View::find(Type type, const std::string& name) const {
  if (type == Type::kSecret) return secret ? secret(name) : std::nullopt;
  auto& known = all(*this, type);
  if (auto found = known.find(name); found != known.end()) return found->second;
  if (type == Type::kEndpoint) {
    envoy::config::endpoint::v3::ClusterLoadAssignment empty;
    empty.set_cluster_name(name);
    return make_resource(serialize(empty));
  }
  if (type == Type::kRoute) {
    envoy::config::route::v3::RouteConfiguration empty;
    empty.set_name(name);
    return make_resource(serialize(empty));
  }
  return std::nullopt;
}

std::optional<Resource> View::current(Type type, const std::string& name) const {
  if (type != Type::kSecret && !all(*this, type).contains(name)) return std::nullopt;
  return find(type, name);
}

std::optional<Nack> DeltaStream::on_request(const DeltaDiscoveryRequest& request, const View& view, SteadyTime now,
                                            std::vector<DeltaDiscoveryResponse>& out) {
  auto known_type = type_of(request.type_url());
  if (!known_type || (secrets_only_ && *known_type != Type::kSecret)) return std::nullopt;
  Type type = *known_type;
  auto& subscription = at(type);
  std::optional<Nack> nack;
  if (!request.response_nonce().empty() && request.response_nonce() == subscription.nonce) {
    subscription.nonce.clear();
    if (request.has_error_detail()) nack = Nack{type, request.error_detail().message()};
  }
  bool first = !subscription.active;
  subscription.active = true;
  if (first) {
    for (auto& [name, version] : request.initial_resource_versions()) subscription.known[name] = version;
    subscription.wildcard = is_wildcard_type(type) && request.resource_names_subscribe_size() == 0;
  }
  for (auto& name : request.resource_names_unsubscribe()) {
    if (name == "*") subscription.wildcard = false;
    subscription.known.erase(name);
  }
  DeltaDiscoveryResponse response;
  for (auto& name : request.resource_names_subscribe()) {
    if (name == "*") {
      subscription.wildcard = true;
      continue;
    }
    if (type == Type::kEndpoint) awaited_endpoints_.erase(name);
    auto resource = view.find(type, name);
    auto has = subscription.known.try_emplace(name).first;
    if (!resource) {
      if (is_wildcard_type(type)) response.add_removed_resources(name);
      continue;
    }
    // After a reconnect the proxy says what it has; everything else that is asked for is answered, even twice.
    if (first && has->second == resource->version) continue;
    add(type, name, *resource, response);
  }
  if (response.resources_size() > 0 || response.removed_resources_size() > 0)
    finish(type, view, std::move(response), out);
  // The first wildcard request is answered even when nothing is new: the proxy may wait for it to become ready.
  if (first && subscription.wildcard) {
    bool reconnected = request.initial_resource_versions_size() > 0;
    send_changes(type, view, type != Type::kCluster || !reconnected, true, out);
    if (reconnected && type == Type::kCluster) {
      removals_due_ = true;
      hold_until_ = now + kMaxHold;
    }
  }
  pump(view, now, out);
  return nack;
}

void DeltaStream::on_update(const View& view, SteadyTime now, std::vector<DeltaDiscoveryResponse>& out) {
  for (auto& subscription : subscriptions_) subscription.dirty = subscription.active;
  hold_until_ = now + kMaxHold;
  pump(view, now, out);
}

void DeltaStream::on_tick(const View& view, SteadyTime now, std::vector<DeltaDiscoveryResponse>& out) {
  pump(view, now, out);
}

bool DeltaStream::settled(SteadyTime now) {
  if (now >= hold_until_) return true;
  return at(Type::kCluster).nonce.empty() && at(Type::kEndpoint).nonce.empty() && awaited_endpoints_.empty();
}

void DeltaStream::pump(const View& view, SteadyTime now, std::vector<DeltaDiscoveryResponse>& out) {
  auto take_dirty = [&](Type type) { return std::exchange(at(type).dirty, false); };
  if (take_dirty(Type::kSecret)) send_changes(Type::kSecret, view, false, false, out);
  if (take_dirty(Type::kCluster)) {
    send_changes(Type::kCluster, view, false, false, out);
    removals_due_ = true;
  }
  if (take_dirty(Type::kEndpoint)) send_changes(Type::kEndpoint, view, false, false, out);
  if (!settled(now)) return;
  awaited_endpoints_.clear();
  if (take_dirty(Type::kListener)) send_changes(Type::kListener, view, true, false, out);
  if (take_dirty(Type::kRoute)) send_changes(Type::kRoute, view, false, false, out);
  auto& listeners = at(Type::kListener);
  auto& routes = at(Type::kRoute);
  bool applied = listeners.active && routes.active && listeners.nonce.empty() && routes.nonce.empty();
  if (removals_due_ && (applied || now >= hold_until_)) {
    removals_due_ = false;
    send_changes(Type::kCluster, view, true, false, out);
  }
}

bool DeltaStream::send_changes(Type type, const View& view, bool removals, bool even_if_empty,
                               std::vector<DeltaDiscoveryResponse>& out) {
  auto& subscription = at(type);
  if (!subscription.active) return false;
  DeltaDiscoveryResponse response;
  if (subscription.wildcard) {
    for (auto& [name, resource] : all(view, type)) {
      auto has = subscription.known.find(name);
      if (has == subscription.known.end() || has->second != resource.version) add(type, name, resource, response);
    }
    if (removals)
      for (auto has = subscription.known.begin(); has != subscription.known.end();) {
        if (all(view, type).contains(has->first)) {
          ++has;
          continue;
        }
        response.add_removed_resources(has->first);
        has = subscription.known.erase(has);
      }
  } else {
    for (auto& [name, version] : subscription.known) {
      auto resource = view.current(type, name);
      if (resource && resource->version != version) add(type, name, *resource, response);
    }
  }
  bool empty = response.resources_size() == 0 && response.removed_resources_size() == 0;
  if (empty && !even_if_empty) return false;
  finish(type, view, std::move(response), out);
  return true;
}

void DeltaStream::add(Type type, const std::string& name, const Resource& resource, DeltaDiscoveryResponse& response) {
  auto* one = response.add_resources();
  one->set_name(name);
  one->set_version(resource.version);
  one->mutable_resource()->set_type_url(std::string(kTypeUrls[static_cast<size_t>(type)]));
  one->mutable_resource()->set_value(resource.bytes);
  at(type).known[name] = resource.version;
}

void DeltaStream::finish(Type type, const View& view, DeltaDiscoveryResponse response,
                         std::vector<DeltaDiscoveryResponse>& out) {
  response.set_type_url(std::string(kTypeUrls[static_cast<size_t>(type)]));
  response.set_nonce(std::to_string(next_nonce_++));
  at(type).nonce = response.nonce();
  if (type == Type::kCluster) {
    auto& endpoints = at(Type::kEndpoint);
    for (auto& one : response.resources()) {
      if (auto known = endpoints.known.find(one.name()); known != endpoints.known.end()) {
        known->second.clear();  // to be sent again
        endpoints.dirty = true;
      } else if (all(view, Type::kEndpoint).contains(one.name())) {
        awaited_endpoints_.insert(one.name());
      }
    }
  }
  out.push_back(std::move(response));
}

}  // namespace pinnace::translator
