#include <algorithm>
#include <iterator>
#include <utility>

#include "translator/distribute/subscription.h"

namespace pinnace::translator {
namespace {

bool is_wildcard_type(Type type) { return type == Type::kCluster || type == Type::kListener; }

const Resources& all(const View& view, Type type) { return (*view.resources)[static_cast<size_t>(type)]; }

}  // namespace

std::optional<Nack> SotwStream::on_request(const DiscoveryRequest& request, const View& view, SteadyTime now,
                                           std::vector<DiscoveryResponse>& out) {
  auto known_type = type_of(request.type_url());
  if (!known_type || (secrets_only_ && *known_type != Type::kSecret)) return std::nullopt;
  Type type = *known_type;
  auto& subscription = at(type);
  std::set<std::string> names(request.resource_names().begin(), request.resource_names().end());
  std::optional<Nack> nack;
  bool first = !subscription.active;
  if (!request.response_nonce().empty() && !first) {
    if (request.response_nonce() != subscription.nonce) return std::nullopt;  // overtaken by a newer response
    subscription.acknowledged = true;
    if (request.has_error_detail()) nack = Nack{type, request.error_detail().message()};
  }
  if (!last_) last_ = view.resources;
  subscription.active = true;
  subscription.wildcard = is_wildcard_type(type) && (names.empty() || names.contains("*"));
  names.erase("*");
  std::set<std::string> added;
  std::set_difference(names.begin(), names.end(), subscription.names.begin(), subscription.names.end(),
                      std::inserter(added, added.end()));
  std::erase_if(subscription.sent, [&](auto& entry) { return !subscription.wildcard && !names.contains(entry.first); });
  subscription.names = std::move(names);
  if (type == Type::kEndpoint)
    for (auto& name : added) awaited_endpoints_.erase(name);
  if (is_wildcard_type(type)) {
    if (first || !added.empty()) send(type, view, nullptr, out);
  } else if (!added.empty()) {
    send(type, view, &added, out);
  }
  pump(view, now, out);
  return nack;
}

void SotwStream::on_update(const View& view, SteadyTime now, std::vector<DiscoveryResponse>& out) {
  for (auto& subscription : subscriptions_) subscription.dirty = subscription.active;
  if (last_)
    for (auto& [name, resource] : (*last_)[static_cast<size_t>(Type::kCluster)])
      if (!all(view, Type::kCluster).contains(name)) leaving_.emplace(name, resource);
  std::erase_if(leaving_, [&](auto& entry) { return all(view, Type::kCluster).contains(entry.first); });
  last_ = view.resources;
  hold_until_ = now + kMaxHold;
  pump(view, now, out);
}

void SotwStream::on_tick(const View& view, SteadyTime now, std::vector<DiscoveryResponse>& out) {
  pump(view, now, out);
}

void SotwStream::pump(const View& view, SteadyTime now, std::vector<DiscoveryResponse>& out) {
  auto take_dirty = [&](Type type) { return std::exchange(at(type).dirty, false); };
  if (take_dirty(Type::kSecret)) send_changes(Type::kSecret, view, out);
  if (take_dirty(Type::kCluster)) send_clusters(view, out);
  if (take_dirty(Type::kEndpoint)) send_changes(Type::kEndpoint, view, out);
  bool late = now >= hold_until_;
  bool warm = at(Type::kCluster).acknowledged && at(Type::kEndpoint).acknowledged && awaited_endpoints_.empty();
  if (!warm && !late) return;
  awaited_endpoints_.clear();
  if (take_dirty(Type::kListener)) send_changes(Type::kListener, view, out);
  if (take_dirty(Type::kRoute)) send_changes(Type::kRoute, view, out);
  bool applied = at(Type::kListener).acknowledged && at(Type::kRoute).acknowledged;
  if (leaving_.empty() || !(applied || late)) return;
  leaving_.clear();
  send_changes(Type::kCluster, view, out);
}

std::set<std::string> SotwStream::changes(Type type, const View& view, bool* gone) {
  auto& subscription = at(type);
  std::set<std::string> out;
  auto look = [&](const std::string& name, const Resource& resource) {
    auto has = subscription.sent.find(name);
    if (has == subscription.sent.end() || has->second != resource.version) out.insert(name);
  };
  if (subscription.wildcard) {
    for (auto& [name, resource] : all(view, type)) look(name, resource);
    *gone = std::any_of(subscription.sent.begin(), subscription.sent.end(),
                        [&](auto& entry) { return !all(view, type).contains(entry.first); });
    return out;
  }
  for (auto& name : subscription.names)
    if (auto resource = view.current(type, name)) look(name, *resource);
  return out;
}

void SotwStream::send_clusters(const View& view, std::vector<DiscoveryResponse>& out) {
  if (!at(Type::kCluster).active) return;
  bool gone = false;
  auto changed = changes(Type::kCluster, view, &gone);
  if (changed.empty()) return;  // removals alone come last
  auto& endpoints = at(Type::kEndpoint);
  for (auto& name : changed) {
    if (!all(view, Type::kEndpoint).contains(name)) continue;
    if (endpoints.names.contains(name)) resend_endpoints_.insert(name);  // it warms anew
    else awaited_endpoints_.insert(name);
  }
  send(Type::kCluster, view, nullptr, out);
}

void SotwStream::send_changes(Type type, const View& view, std::vector<DiscoveryResponse>& out) {
  if (!at(type).active) return;
  bool gone = false;
  auto changed = changes(type, view, &gone);
  if (type == Type::kEndpoint) changed.merge(std::exchange(resend_endpoints_, {}));
  if (!changed.empty() || gone) send(type, view, is_wildcard_type(type) ? nullptr : &changed, out);
}

void SotwStream::send(Type type, const View& view, const std::set<std::string>* only,
                      std::vector<DiscoveryResponse>& out) {
  auto& subscription = at(type);
  DiscoveryResponse response;
  response.set_type_url(std::string(kTypeUrls[static_cast<size_t>(type)]));
  auto add = [&](const std::string& name, const Resource& resource) {
    auto* any = response.add_resources();
    any->set_type_url(response.type_url());
    any->set_value(resource.bytes);
    subscription.sent[name] = resource.version;
  };
  if (!only) subscription.sent.clear();
  if (subscription.wildcard) {
    for (auto& [name, resource] : all(view, type)) add(name, resource);
    if (type == Type::kCluster)
      for (auto& [name, resource] : leaving_) add(name, resource);
  } else {
    for (auto& name : only ? *only : subscription.names)
      if (auto resource = view.find(type, name)) add(name, *resource);
    if (response.resources_size() == 0 && type == Type::kSecret) return;
  }
  response.set_nonce(std::to_string(next_nonce_++));
  response.set_version_info(response.nonce());
  subscription.nonce = response.nonce();
  subscription.acknowledged = false;
  out.push_back(std::move(response));
}

}  // namespace pinnace::translator
