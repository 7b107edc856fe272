// ListenerSet: the listeners of one worker. Accepts connections, runs the listener filters, finds the filter chain and
// starts its session; takes updates without touching sockets or the sessions of unchanged chains.
// THREAD: the worker's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "proxy/filter/network_filter.h"
#include "proxy/model/update.h"
#include "proxy/route/chain_match.h"

namespace pinnace::listener {

class ActiveListener;
class ListenerSet;

struct ListenerSetOptions {
  size_t worker = 0;
  uint64_t drain_time_ms = 600 * 1000;  // --drain-time-s
  net::ConnectionLimit* limit = nullptr;
  // Runs work on another worker's thread (balancing). May be empty with one worker.
  std::function<void(size_t worker, std::function<void(ListenerSet&)>)> post_to;
};

class ListenerSet {
 public:
  ListenerSet(filter::WorkerContext& context, ListenerSetOptions options);
  ~ListenerSet();

  void set(const model::Update::ListenerChange& change);
  void remove(const std::string& name);
  // Sessions finish what they do, and those that begin later drain from their beginning: a first answer that says so,
  // and no second. With `stop_accepting` the sockets are no longer read. Holds for listeners that come later too.
  void drain(bool inbound_only, bool stop_accepting, bool close_idle);
  // While unhealthy, sessions drain from their beginning.
  void set_unhealthy(bool on);
  bool unhealthy() const { return unhealthy_; }
  bool drains(const model::ListenerConfig& listener) const { return covers(draining_, listener); }
  // A listener that gets its connections from another by their destination wants them spread exactly.
  bool redirected_exactly() const { return redirected_exactly_; }
  bool stopped(const model::ListenerConfig& listener) const { return covers(stopped_, listener); }
  void close_all();
  size_t session_count() const;

  // The listener a redirected connection belongs to: exact address, then the wildcard with its port; nullptr: none.
  ActiveListener* by_destination(const base::Address& destination, const ActiveListener* except) const;
  // A connection that another worker accepted for the listener of that name.
  void adopt(const std::string& listener, int fd, const base::Address& remote, net::ConnectionSlot slot);

  filter::WorkerContext& context() { return context_; }
  const ListenerSetOptions& options() const { return options_; }

 private:
  enum class Scope : uint8_t { kNone, kInbound, kAll };

  static bool covers(Scope scope, const model::ListenerConfig& listener) {
    if (scope == Scope::kInbound) return listener.direction == model::TrafficDirection::kInbound;
    return scope == Scope::kAll;
  }
  void index_addresses();

  filter::WorkerContext& context_;
  ListenerSetOptions options_;
  std::map<std::string, std::unique_ptr<ActiveListener>> listeners_;
  std::unordered_map<base::Address, ActiveListener*, base::AddressHash> by_address_;
  base::IntrusiveList<base::Deferred> retired_;
  bool redirected_exactly_ = false;
  bool unhealthy_ = false;
  Scope draining_ = Scope::kNone, stopped_ = Scope::kNone;
  friend class ActiveListener;
};

}  // namespace pinnace::listener
