// HttpPool: the HTTP connections of one worker to one host over one transport and protocol. Gives a stream at once from
// an idle connection or makes the request wait for one; bounded by the cluster's circuit breakers.
// THREAD: the worker's. LIFETIME: owned by its Host; retire() it, and it ends when its last stream has.
#pragma once

#include <memory>
#include <string>

#include "proxy/base/intrusive_list.h"
#include "proxy/http/codec.h"
#include "proxy/http/h1/client_codec.h"
#include "proxy/http/h2/codec_stats.h"
#include "proxy/net/connection.h"
#include "proxy/upstream/dial.h"

namespace pinnace::upstream {

// A request that wants a stream.
class PoolWaiter : public base::ListLink {
 public:
  virtual http::ResponseReceiver& receiver() = 0;
  // The stream is there; the sender lives until its end. `reused`: the connection has carried another before.
  virtual void on_pool_ready(http::RequestSender& sender, const net::Connection& connection, bool reused) = 0;
  virtual void on_pool_failure(http::ResetReason reason, std::string_view detail) = 0;
  // The request cannot be sent again when the connection turns out to have been closed by its peer: have it looked at.
  virtual bool once_only() const = 0;
  // Wants a connection of its own making: kept ones have failed it.
  virtual bool wants_fresh() const = 0;

 protected:
  ~PoolWaiter() = default;
};

enum class PoolProtocol : uint8_t {
  kHttp1,
  kHttp2,
  kAuto,  // h2 where ALPN says so, else h1
  kTcp,   // no HTTP: what a terminated CONNECT carries
};

struct PoolKey {
  PoolProtocol protocol = PoolProtocol::kHttp1;
  std::string_view sni = {};   // only with auto_sni
  std::string_view alpn = {};  // in the place of the cluster's, joined by ","
  net::Source source = {};     // with an address: in the place of the cluster's
  friend bool operator==(const PoolKey&, const PoolKey&) = default;
};

class ClientConnection;

class HttpPool final : public base::Deferred {
 public:
  HttpPool(Cluster& cluster, Host& host, const PoolKey& key);
  ~HttpPool() override;

  // Calls on_pool_ready() or on_pool_failure() before it returns, or keeps `waiter` until one of them.
  void request(PoolWaiter& waiter);
  // `waiter` hears nothing more.
  void cancel(PoolWaiter& waiter);
  // No new requests here; idle connections close now, busy ones after their last stream.
  void retire();
  bool retired() const { return retired_; }
  const PoolKey& key() const { return key_; }
  bool empty() const { return connections_ == 0 && waiters_.empty(); }

 private:
  friend class ClientConnection;

  void open_connection();
  void left_queue();
  void close_one_connecting();
  void serve_waiters(ClientConnection& connection);
  void connection_ready(ClientConnection& connection);
  void capacity_changed(ClientConnection& connection);
  void connection_failed(ClientConnection& connection, http::ResetReason reason, std::string_view detail);
  void stream_ended(ClientConnection& connection, bool reusable);
  void remove(ClientConnection& connection);
  void attach(ClientConnection& connection, PoolWaiter& waiter);

  base::EventLoop& loop_;
  const tls::ContextTable& tls_;
  // As they were when the pool was made: it may outlive the cluster, and retire() comes when they change.
  model::ClusterPtr config_;
  std::shared_ptr<const model::Endpoint> endpoint_;
  Host& host_;
  std::string sni_, alpn_;
  PoolKey key_;  // its views are of these
  http::h1::ClientSettings h1_;
  std::shared_ptr<const http::h2::CodecStats> h2_stats_;  // where it may speak HTTP/2
  bool retired_ = false;
  bool multiplexed_;  // its connections carry many streams, as far as we know
  uint32_t connections_ = 0;
  uint32_t connecting_ = 0;
  uint32_t waiting_ = 0;
  base::IntrusiveList<PoolWaiter> waiters_;
  base::IntrusiveList<ClientConnection> idle_;  // takes another stream; newest first
  base::IntrusiveList<ClientConnection> busy_;  // full, connecting or draining
};

// The pool of `host` for `key`, made when there is none.
HttpPool& pool_of(Cluster& cluster, Host& host, const PoolKey& key);

}  // namespace pinnace::upstream
