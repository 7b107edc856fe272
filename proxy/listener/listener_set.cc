#include "proxy/listener/listener_set.h"

#include <unistd.h>

#include <algorithm>

#include "proxy/listener/active_listener.h"

namespace pinnace::listener {

ListenerSet::ListenerSet(filter::WorkerContext& context, ListenerSetOptions options)
    : context_(context), options_(std::move(options)) {}

ListenerSet::~ListenerSet() {
  listeners_.clear();
  while (base::Deferred* listener = retired_.pop_front()) delete listener;
}

void ListenerSet::set(const model::Update::ListenerChange& change) {
  auto& slot = listeners_[change.listener->name];
  if (slot) {
    slot->update(change);
  } else {
    slot = std::make_unique<ActiveListener>(*this, change);
  }
  index_addresses();
}

void ListenerSet::remove(const std::string& name) {
  auto found = listeners_.find(name);
  if (found == listeners_.end()) return;
  ActiveListener& listener = *found->second.release();
  listeners_.erase(found);
  index_addresses();
  retired_.push_back(listener);
  listener.retire();
}

void ListenerSet::drain(bool inbound_only, bool stop_accepting, bool close_idle) {
  Scope scope = inbound_only ? Scope::kInbound : Scope::kAll;
  draining_ = std::max(draining_, scope);
  if (stop_accepting) stopped_ = std::max(stopped_, scope);
  for (auto& [name, listener] : listeners_) {
    if (!covers(scope, listener->config())) continue;
    if (stop_accepting) listener->stop_accepting();
    listener->drain_sessions(close_idle);
  }
}

void ListenerSet::set_unhealthy(bool on) {
  unhealthy_ = on;
  if (!on) return;
  for (auto& [name, listener] : listeners_) {
    if (listener->config().drains_when_unhealthy) listener->drain_sessions(false);
  }
}

void ListenerSet::close_all() {
  by_address_.clear();
  listeners_.clear();
}

size_t ListenerSet::session_count() const {
  size_t count = 0;
  for (const auto& [name, listener] : listeners_) count += listener->session_count();
  return count;
}

void ListenerSet::index_addresses() {
  by_address_.clear();
  redirected_exactly_ = false;
  for (const auto& [name, listener] : listeners_) {
    const model::ListenerConfig& config = listener->config();
    for (const auto& address : config.addresses) by_address_.emplace(address, listener.get());
    redirected_exactly_ = redirected_exactly_ || (config.exact_balance && !config.bind_to_port);
  }
}

ActiveListener* ListenerSet::by_destination(const base::Address& destination, const ActiveListener* except) const {
  auto found = by_address_.find(destination);
  if (found == by_address_.end()) {
    base::Address any =
        base::Address::ip(destination.kind() == base::Address::Kind::kIpv6 ? "::" : "0.0.0.0", destination.port())
            .value();
    found = by_address_.find(any);
  }
  return found == by_address_.end() || found->second == except ? nullptr : found->second;
}

void ListenerSet::adopt(const std::string& listener, int fd, const base::Address& remote, net::ConnectionSlot slot) {
  auto found = listeners_.find(listener);
  if (found == listeners_.end()) {
    ::close(fd);
    return;
  }
  found->second->take(fd, remote, {}, std::move(slot));
}

}  // namespace pinnace::listener
