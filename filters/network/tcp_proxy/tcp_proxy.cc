#include "filters/network/tcp_proxy/tcp_proxy.h"

#include "proxy/route/match.h"
#include "proxy/upstream/dial.h"

namespace pinnace::filters::tcp_proxy {

using http::Flag;

std::unique_ptr<filter::Session> TcpProxyConfig::create(filter::WorkerContext& worker,
                                                        filter::Accepted&& accepted) const {
  return std::make_unique<TcpSession>(*this, worker, std::move(accepted));
}

TcpSession::TcpSession(const TcpProxyConfig& config, filter::WorkerContext& worker, filter::Accepted&& accepted)
    : Session(std::move(accepted)), config_(config), worker_(worker) {
  base::EventLoop& loop = worker.loop;
  local_ = accepted_.original_destination.kind() != base::Address::Kind::kNone ? accepted_.original_destination
                                                                               : connection().local_address();
  info_.start_wall_ns = loop.wall_ns();
  info_.start_ns = loop.now_ns();
  info_.local_address = &local_;
  info_.direct_remote_address = &direct_remote();
  info_.remote_address = connection().remote_address();
  info_.requested_server_name = accepted_.server_name;
  idle_timer_.init(
      loop.timers(), [](void* self) { static_cast<TcpSession*>(self)->on_idle(); }, this);
  duration_timer_.init(
      loop.timers(),
      [](void* self) {
        static_cast<TcpSession*>(self)->info_.set(Flag::kDurationTimeout);
        static_cast<TcpSession*>(self)->end(false);
      },
      this);
  connection().set_callbacks(downstream_side_);
  connection().set_byte_stats(&config.bytes());
  loop.cells().add(settings().stats.cx_total);
  loop.cells().inc(settings().stats.cx_active);
  for (const auto& observer : chain().observers) observers_.push_back(observer->observe(*this));
}

TcpSession::~TcpSession() {
  worker_.loop.cells().dec(settings().stats.cx_active);
  net::Connection::close(std::move(accepted_.connection));
  net::Connection::close(std::move(upstream_));
}

void TcpSession::start() { connection().start(chain().handshake_timeout_ms); }

void TcpSession::on_downstream_ready() {
  info_.tls = connection().tls();
  note_tls_ready(worker_.loop.cells());
  // ENVOY: the upstream is dialled before any byte has come, so that servers may speak first; what comes meanwhile
  // waits.
  connection().set_reading(false);
  if (settings().max_connection_ms > 0) duration_timer_.arm(settings().max_connection_ms);
  connect();
}

model::ClusterPtr TcpSession::cluster() const {
  const upstream::Cluster* cluster = worker_.clusters.find(cluster_id_);
  return cluster ? cluster->config() : nullptr;
}

void TcpSession::connect() {
  const model::WeightedCluster* chosen =
      route::choose_cluster(settings().clusters, settings().total_weight, worker_.loop.rng().next());
  upstream::Cluster* cluster = worker_.clusters.find(chosen->cluster_id);
  if (!cluster) {
    worker_.loop.cells().add(settings().stats.cx_no_route);
    return fail(Flag::kNoClusterFound);
  }
  info_.cluster_name = chosen->name;
  cluster_id_ = chosen->cluster_id;
  cluster_ = cluster->config_ref();
  info_.cluster_stat_name = cluster_->stat_name;
  const model::ClusterStats& stats = cluster_->stats;
  upstream::PickContext context;
  context.original_destination = &local_;
  info_.upstream_workload = {};  // of the host that we let go
  host_ = cluster->pick(context).host;
  if (!host_) {
    worker_.loop.cells().add(stats.cx_none_healthy);
    return fail(Flag::kNoHealthyUpstream);
  }
  if (cluster_->breakers.max_connections != model::CircuitBreakers::kUnlimited &&
      cluster_->counts->connections.fetch_add(1, std::memory_order_relaxed) >= cluster_->breakers.max_connections) {
    cluster_->counts->connections.fetch_sub(1, std::memory_order_relaxed);
    worker_.loop.cells().add(stats.cx_overflow);
    host_ = nullptr;
    return fail(Flag::kUpstreamOverflow);
  }
  info_.attempts++;
  info_.upstream_workload = host_->endpoint->workload;
  upstream_host_ = host_->endpoint->text;
  info_.upstream_host = upstream_host_;
  host_->active_connections++;
  host_->total_connections++;
  worker_.loop.cells().add(stats.cx_total);
  worker_.loop.cells().inc(stats.cx_active);
  upstream::DialOptions options{.source = &connection().remote_address(),
                                .destination = &local_,
                                .from = accepted_.source.address.is_ip() ? &accepted_.source : nullptr};
  upstream_ = upstream::dial(worker_.loop, cluster->tls(), *cluster->config(), *host_->endpoint, options);
  upstream_bytes_ = {stats.cx_rx_bytes, stats.cx_tx_bytes};
  upstream_->set_callbacks(upstream_side_);
  upstream_->set_byte_stats(&upstream_bytes_);
}

void TcpSession::on_upstream_ready() {
  connected_ = true;
  info_.upstream_local_address = upstream_->local_address();
  if (upstream_->tls()) worker_.loop.cells().add(cluster_->stats.ssl_handshake);
  touch();
  connection().set_reading(true);
}

void TcpSession::on_downstream_data(base::Bytes data) {
  if (ended_) return;
  info_.bytes_received += data.size();
  touch();
  upstream_->write(data);
  if (upstream_->write_blocked()) connection().set_reading(false);
}

void TcpSession::on_upstream_data(base::Bytes data) {
  if (ended_) return;
  info_.bytes_sent += data.size();
  touch();
  connection().write(data);
  if (connection().write_blocked()) upstream_->set_reading(false);
}

void TcpSession::on_downstream_eof() {
  if (ended_) return;
  downstream_eof_ = true;
  if (!connected_) return end(false);
  upstream_->shutdown_write();
  maybe_finish();
}

void TcpSession::on_upstream_eof() {
  if (ended_) return;
  upstream_eof_ = true;
  connection().shutdown_write();
  maybe_finish();
}

void TcpSession::maybe_finish() {
  if (downstream_eof_ && upstream_eof_) end(false);
}

void TcpSession::on_downstream_close(net::CloseReason reason) {
  if (ended_) return;
  note_tls_failure(reason, worker_.loop.cells());
  end(true);
}

void TcpSession::on_upstream_close(net::CloseReason reason) {
  if (ended_) return;
  if (connected_) {
    info_.set(Flag::kUpstreamRemoteReset);
    return end(true);
  }
  worker_.loop.cells().add(cluster_->stats.cx_connect_fail);
  if (reason == net::CloseReason::kConnectTimeout) worker_.loop.cells().add(cluster_->stats.cx_connect_timeout);
  host_->connect_failures++;
  if (info_.attempts < settings().max_connect_attempts) {
    give_connection_back();
    net::Connection::close(std::move(upstream_));
    return connect();
  }
  failure_ = upstream_->failure_text();
  info_.upstream_failure = failure_;
  info_.set(Flag::kUpstreamConnectionFailure);
  info_.set(Flag::kUpstreamRetryLimitExceeded);  // ENVOY: the connect attempts are used up
  fail(Flag::kUpstreamConnectionFailure);
}

void TcpSession::on_idle() {
  worker_.loop.cells().add(settings().stats.idle_timeout);
  info_.details = "tcp_session_idle_timeout";
  end(false);
}

void TcpSession::fail(Flag flag) {
  info_.set(flag);
  end(false);
}

void TcpSession::close() { end(false); }

// What connect() has counted.
void TcpSession::give_connection_back() {
  host_->active_connections--;
  worker_.loop.cells().dec(cluster_->stats.cx_active);
  worker_.loop.cells().add(cluster_->stats.cx_destroy);
  if (cluster_->breakers.max_connections != model::CircuitBreakers::kUnlimited) {
    cluster_->counts->connections.fetch_sub(1, std::memory_order_relaxed);
  }
}

void TcpSession::end(bool reset) {
  if (ended_) return;
  ended_ = true;
  idle_timer_.cancel();
  duration_timer_.cancel();
  info_.end_ns = worker_.loop.now_ns();
  if (upstream_ && host_) give_connection_back();
  for (const auto& observer : observers_) observer->on_end();
  for (const auto& logger : settings().access_logs) logger->log({info_, nullptr, nullptr, nullptr, true}, worker_.logs);
  if (reset) {
    net::Connection::close(std::move(accepted_.connection), true);
    net::Connection::close(std::move(upstream_), true);
  } else {
    net::Connection::close_after_flush(std::move(accepted_.connection), net::Connection::kDelayedCloseMs);
    net::Connection::close_after_flush(std::move(upstream_), net::Connection::kDelayedCloseMs);
  }
  info_.direct_remote_address = nullptr;
  info_.tls = nullptr;
  accepted_.owner->session_ended(*this);
}

}  // namespace pinnace::filters::tcp_proxy
