// PendingConnection: an accepted socket in its listener filters: PROXY protocol, original destination, TLS and HTTP
// inspection by peeking. Bounded by listener_filters_timeout and by what an inspector looks at. THREAD: the worker's.
// LIFETIME: its listener's list, until it starts a session or closes.
#pragma once

#include "proxy/listener/active_listener.h"

namespace pinnace::listener {

class PendingConnection final : public base::EventHandler, public base::Deferred {
 public:
  PendingConnection(ActiveListener& listener, int fd, const base::Address& remote, const base::Address& destination,
                    net::ConnectionSlot slot);
  ~PendingConnection() override;

  // Runs the filters as far as the bytes that are there allow. May end this object.
  void start();
  void on_event(uint32_t events) override;
  void abandon();
  // The socket, which is no longer ours.
  int release_fd();
  const net::Source& source() const { return source_; }
  net::ConnectionSlot release_slot() { return std::move(slot_); }

 private:
  void run();
  // True when every filter has its answer.
  bool run_filters();
  bool peek();
  // False: wait for more, or the connection was refused.
  bool take_proxy_header(bool optional);
  void finish();
  void close();
  void on_timeout();

  ActiveListener& listener_;
  model::ListenerPtr config_;
  int fd_;
  net::ConnectionSlot slot_;
  route::ConnectionFacts facts_;
  net::Source source_;  // original_src
  bool redirected_;
  size_t at_ = 0;  // the filter that waits
  base::Bytes peeked_;
  bool saw_end_ = false;  // no more bytes will come
  bool watched_ = false;
  bool ended_ = false;
  base::Timer timer_;
};

}  // namespace pinnace::listener
