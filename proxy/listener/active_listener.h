// ActiveListener: one listener on one worker: its sockets, the connections still in their listener filters, and its
// sessions. THREAD: the worker's. LIFETIME: its ListenerSet's; after remove() until its last session has ended.
#pragma once

#include "proxy/listener/listener_set.h"

namespace pinnace::listener {

class PendingConnection;

class ActiveListener final : public base::Deferred, public filter::SessionOwner {
 public:
  ActiveListener(ListenerSet& set, const model::Update::ListenerChange& change);
  ~ActiveListener() override;

  const model::ListenerConfig& config() const { return *config_; }
  const model::ListenerPtr& config_ptr() const { return config_; }
  ListenerSet& set() { return set_; }
  base::EventLoop& loop() { return set_.context().loop; }

  void update(const model::Update::ListenerChange& change);
  // No more connections; sessions drain and are closed after the drain time.
  void retire();
  void stop_accepting();
  void drain_sessions(bool close_idle);
  size_t session_count() const { return session_count_; }

  // A connection for this listener, accepted here, on another worker or by another listener (use_original_dst).
  // `destination` is kNone unless it was redirected.
  void take(int fd, const base::Address& remote, base::Address destination, net::ConnectionSlot slot);
  // Its listener filters are through.
  void start_session(PendingConnection& pending, int fd, const route::ConnectionFacts& facts, bool redirected);
  void pending_ended(PendingConnection& pending);
  void session_ended(filter::Session& session) override;

 private:
  class Socket;

  // A chain that an update took away, and when what is left of its sessions is closed.
  struct Leaving {
    base::LocalRef<model::FilterChain> chain;
    uint64_t deadline_ms;
  };

  void open_sockets();
  // False: it is over the limit and was closed.
  bool admit(int fd, net::ConnectionSlot& slot);
  bool hand_over(int fd, const base::Address& remote, net::ConnectionSlot& slot);
  void maybe_finish();
  bool has(const model::FilterChain* chain) const;
  void close_all();
  void on_drain_deadline();
  std::vector<filter::Session*> all_sessions();
  base::LocalRef<model::FilterChain> pin(const std::shared_ptr<const model::FilterChain>& chain);

  ListenerSet& set_;
  model::ListenerPtr config_;
  std::shared_ptr<net::SocketSet> sockets_;
  std::vector<std::unique_ptr<Socket>> watched_;
  base::IntrusiveList<PendingConnection> pending_;
  base::IntrusiveList<filter::Session> sessions_;
  std::vector<base::LocalRef<model::FilterChain>> chains_;  // one pin each
  std::vector<Leaving> leaving_;                            // the next to be closed first
  base::Timer drain_timer_;
  size_t session_count_ = 0;
  bool retired_ = false;
};

}  // namespace pinnace::listener
