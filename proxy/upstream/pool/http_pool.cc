#include "proxy/upstream/pool/http_pool.h"

#include "proxy/upstream/pool/client_connection.h"

namespace pinnace::upstream {

using model::CircuitBreakers;

Host::Host(std::shared_ptr<const model::Endpoint> e) : endpoint(std::move(e)) {}

Host::~Host() = default;

namespace {

// ENVOY: an HTTP pool offers what it speaks.
std::string_view fallback_alpn(PoolProtocol protocol) {
  switch (protocol) {
    case PoolProtocol::kHttp1: return "http/1.1";
    case PoolProtocol::kHttp2: return "h2";
    case PoolProtocol::kAuto: return "h2,http/1.1";
    case PoolProtocol::kTcp: return "";
  }
  return "";
}

}  // namespace

HttpPool::HttpPool(Cluster& cluster, Host& host, const PoolKey& key)
    : loop_(cluster.loop()),
      tls_(cluster.tls()),
      config_(cluster.config()),
      endpoint_(host.endpoint),
      host_(host),
      sni_(key.sni),
      alpn_(key.alpn),
      key_{key.protocol, sni_, alpn_, key.source},
      multiplexed_(key_.protocol == PoolProtocol::kHttp2) {
  if (multiplexed_ || key_.protocol == PoolProtocol::kAuto) h2_stats_ = cluster.http2_stats();
  h1_.max_head_bytes = config_->max_response_head_bytes;
  h1_.limits.max_headers = config_->max_response_headers;
  h1_.options = config_->http1;
}

HttpPool::~HttpPool() {
  while (PoolWaiter* waiter = waiters_.pop_front()) {
    left_queue();
    waiter->on_pool_failure(http::ResetReason::kLocal, "the pool was closed");
  }
  retired_ = true;
  while (!idle_.empty()) remove(idle_.front());
  while (!busy_.empty()) remove(busy_.front());
}

void HttpPool::attach(ClientConnection& connection, PoolWaiter& waiter) {
  bool reused = connection.used();
  http::RequestSender& sender = connection.new_stream(waiter.receiver());
  if (!connection.can_take_stream()) {
    connection.unlink();
    busy_.push_back(connection);
  }
  waiter.on_pool_ready(sender, connection.connection(), reused);
}

void HttpPool::request(PoolWaiter& waiter) {
  const auto& stats = config_->stats;
  while (!idle_.empty() && !waiter.wants_fresh()) {
    ClientConnection& connection = idle_.front();
    if (waiter.once_only() && !connection.looks_alive()) {
      remove(connection);
      continue;
    }
    if (connection.can_take_stream()) return attach(connection, waiter);
    connection.unlink();  // its peer has lowered the number of streams
    busy_.push_back(connection);
  }
  uint32_t limit = config_->breakers.max_pending;
  if (limit != CircuitBreakers::kUnlimited &&
      config_->counts->pending.fetch_add(1, std::memory_order_relaxed) >= limit) {
    config_->counts->pending.fetch_sub(1, std::memory_order_relaxed);
    loop_.cells().add(stats.rq_pending_overflow);
    return waiter.on_pool_failure(http::ResetReason::kOverflow, "");
  }
  loop_.cells().add(stats.rq_pending_total);
  loop_.cells().inc(stats.rq_pending_active);
  waiters_.push_back(waiter);
  waiting_++;
  // HTTP/1 wants a connection for each that waits; HTTP/2 shares one.
  if (multiplexed_ ? connecting_ == 0 : connecting_ < waiting_) open_connection();
}

void HttpPool::open_connection() {
  uint32_t limit = config_->breakers.max_connections;
  if (limit != CircuitBreakers::kUnlimited) {
    // ENVOY: the first connection of a pool is always allowed.
    if (config_->counts->connections.load(std::memory_order_relaxed) >= limit && connections_ > 0) {
      loop_.cells().add(config_->stats.cx_overflow);
      return;
    }
    config_->counts->connections.fetch_add(1, std::memory_order_relaxed);
  }
  connections_++;
  connecting_++;
  host_.active_connections++;
  host_.total_connections++;
  loop_.cells().add(config_->stats.cx_total);
  loop_.cells().inc(config_->stats.cx_active);
  DialOptions options{.sni = key_.sni,
                      .alpn = key_.alpn,
                      .from = key_.source == net::Source() ? nullptr : &key_.source,
                      .fallback_alpn = fallback_alpn(key_.protocol)};
  auto* connection = new ClientConnection(*this, dial(loop_, tls_, *config_, *endpoint_, options));
  busy_.push_back(*connection);
}

void HttpPool::connection_ready(ClientConnection& connection) {
  connecting_--;
  multiplexed_ = connection.multiplexed();
  connection.unlink();
  idle_.push_front(connection);
  serve_waiters(connection);
  if (retired_ && connection.linked()) {
    connection.drain();
    if (!connection.busy()) remove(connection);
  }
}

void HttpPool::capacity_changed(ClientConnection& connection) {
  if (!connection.linked() || !connection.can_take_stream()) return;
  connection.unlink();
  idle_.push_front(connection);
  serve_waiters(connection);
}

void HttpPool::left_queue() {
  waiting_--;
  loop_.cells().dec(config_->stats.rq_pending_active);
  if (config_->breakers.max_pending != CircuitBreakers::kUnlimited) {
    config_->counts->pending.fetch_sub(1, std::memory_order_relaxed);
  }
}

void HttpPool::cancel(PoolWaiter& waiter) {
  if (!waiter.linked()) return;
  waiter.unlink();
  left_queue();
  loop_.cells().add(config_->stats.rq_cancelled);
  if (!multiplexed_ && connecting_ > waiting_) close_one_connecting();
}

// Nobody waits for it any more: requests that come and go at once leave no connections behind.
void HttpPool::close_one_connecting() {
  for (auto& connection : busy_) {
    if (connection.ready()) continue;
    connecting_--;
    return remove(connection);
  }
}

void HttpPool::serve_waiters(ClientConnection& connection) {
  while (connection.can_take_stream()) {
    PoolWaiter* waiter = waiters_.pop_front();
    if (!waiter) break;
    left_queue();
    attach(connection, *waiter);
  }
  if (!waiters_.empty() && connecting_ == 0 && idle_.empty()) open_connection();
}

void HttpPool::connection_failed(ClientConnection& connection, http::ResetReason reason, std::string_view detail) {
  connecting_--;
  const auto& stats = config_->stats;
  loop_.cells().add(stats.cx_connect_fail);
  if (reason == http::ResetReason::kConnectTimeout) loop_.cells().add(stats.cx_connect_timeout);
  if (reason == http::ResetReason::kTlsFailed) loop_.cells().add(stats.ssl_connection_error);
  host_.connect_failures++;
  std::string why(detail);
  remove(connection);
  // ENVOY: everyone who waits for this host fails with it; a retry may go to another.
  base::IntrusiveList<PoolWaiter> failed;
  while (PoolWaiter* waiter = waiters_.pop_front()) failed.push_back(*waiter);
  while (PoolWaiter* waiter = failed.pop_front()) {
    left_queue();
    loop_.cells().add(stats.rq_pending_failure);
    waiter->on_pool_failure(reason, why);
  }
}

void HttpPool::stream_ended(ClientConnection& connection, bool reusable) {
  if (!reusable) connection.drain();
  if (retired_) connection.drain();
  if (!connection.can_take_stream()) {
    if (!connection.busy()) remove(connection);
    // A connection was given up while others wait: they need a new one.
    if (!waiters_.empty() && connecting_ == 0) open_connection();
    return;
  }
  connection.unlink();
  idle_.push_front(connection);
  if (!waiters_.empty()) serve_waiters(connection);
}

void HttpPool::remove(ClientConnection& connection) {
  connection.unlink();
  connection.close();
  connections_--;
  host_.active_connections--;
  loop_.cells().dec(config_->stats.cx_active);
  loop_.cells().add(config_->stats.cx_destroy);
  if (config_->breakers.max_connections != CircuitBreakers::kUnlimited) {
    config_->counts->connections.fetch_sub(1, std::memory_order_relaxed);
  }
  loop_.destroy_later(std::unique_ptr<base::Deferred>(&connection));
}

void HttpPool::retire() {
  retired_ = true;
  while (!idle_.empty()) {
    ClientConnection& connection = idle_.front();
    connection.drain();
    connection.unlink();
    if (connection.busy()) {
      busy_.push_back(connection);
    } else {
      remove(connection);
    }
  }
  for (auto& connection : busy_) {
    if (connection.ready()) connection.drain();  // others still have waiters to serve
  }
}

HttpPool& pool_of(Cluster& cluster, Host& host, const PoolKey& key) {
  for (auto at = host.pools.begin(); at != host.pools.end();) {
    HttpPool& pool = **at;
    if (!pool.retired() && pool.key() == key) return pool;
    if (pool.empty()) {  // retired, or of a name that clients no longer ask for
      cluster.loop().destroy_later(std::move(*at));
      at = host.pools.erase(at);
    } else {
      ++at;
    }
  }
  host.pools.push_back(std::make_unique<HttpPool>(cluster, host, key));
  return *host.pools.back();
}

}  // namespace pinnace::upstream
