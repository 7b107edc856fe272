// tcp_proxy: the terminal filter for bytes: one downstream connection, one upstream connection, back-pressure and
// half-close both ways, one access log entry. envoy.filters.network.tcp_proxy.
#pragma once

#include "proxy/access_log/logger.h"
#include "proxy/filter/network_filter.h"
#include "proxy/model/route.h"

namespace pinnace::filters::tcp_proxy {

struct TcpProxyStats {
  stats::Counter cx_total, cx_no_route, cx_rx_bytes, cx_tx_bytes, idle_timeout, upstream_flush_total;
  stats::Gauge cx_active;
};

struct Settings {
  std::string stat_prefix;
  std::vector<model::WeightedCluster> clusters;
  uint32_t total_weight = 0;
  uint64_t idle_timeout_ms = 3600 * 1000;
  uint64_t max_connection_ms = 0;  // max_downstream_connection_duration
  uint32_t max_connect_attempts = 1;
  access_log::Loggers access_logs;
  TcpProxyStats stats;
};

class TcpProxyConfig final : public filter::NetworkFilterConfig {
 public:
  explicit TcpProxyConfig(Settings settings) : settings_(std::move(settings)) {
    bytes_ = {settings_.stats.cx_rx_bytes, settings_.stats.cx_tx_bytes};
  }
  std::unique_ptr<filter::Session> create(filter::WorkerContext& worker, filter::Accepted&& accepted) const override;
  bool can_be_observed() const override { return true; }
  const Settings& settings() const { return settings_; }
  const net::ByteStats& bytes() const { return bytes_; }

 private:
  Settings settings_;
  net::ByteStats bytes_;
};

class TcpSession final : public filter::Session, public filter::TcpStream {
 public:
  TcpSession(const TcpProxyConfig& config, filter::WorkerContext& worker, filter::Accepted&& accepted);
  ~TcpSession() override;

  void start() override;
  void drain(bool) override {}  // a TCP stream has no boundary to stop at; the drain deadline ends it
  void close() override;

  filter::WorkerContext& worker() const override { return worker_; }
  const http::StreamInfo& info() const override { return info_; }
  const net::Connection& downstream() const override { return *accepted_.connection; }
  const net::Connection* upstream() const override { return upstream_.get(); }
  model::ClusterPtr cluster() const override;

 private:
  struct Downstream final : net::ConnectionCallbacks {
    explicit Downstream(TcpSession& s) : session(s) {}
    void on_ready() override { session.on_downstream_ready(); }
    void on_data(base::Bytes data) override { session.on_downstream_data(data); }
    void on_eof() override { session.on_downstream_eof(); }
    void on_writable() override { session.upstream_reading(true); }
    void on_close(net::CloseReason reason) override { session.on_downstream_close(reason); }
    TcpSession& session;
  };
  struct Upstream final : net::ConnectionCallbacks {
    explicit Upstream(TcpSession& s) : session(s) {}
    void on_ready() override { session.on_upstream_ready(); }
    void on_data(base::Bytes data) override { session.on_upstream_data(data); }
    void on_eof() override { session.on_upstream_eof(); }
    void on_writable() override { session.connection().set_reading(true); }
    void on_close(net::CloseReason reason) override { session.on_upstream_close(reason); }
    TcpSession& session;
  };

  const Settings& settings() const { return config_.settings(); }
  void connect();
  void on_downstream_ready();
  void on_downstream_data(base::Bytes data);
  void on_downstream_eof();
  void on_downstream_close(net::CloseReason reason);
  void on_upstream_ready();
  void on_upstream_data(base::Bytes data);
  void on_upstream_eof();
  void on_upstream_close(net::CloseReason reason);
  void upstream_reading(bool on) {
    if (upstream_) upstream_->set_reading(on);
  }
  void touch() {
    if (settings().idle_timeout_ms > 0) idle_timer_.arm(settings().idle_timeout_ms);
  }
  void on_idle();
  void fail(http::Flag flag);
  void give_connection_back();
  void maybe_finish();
  void end(bool reset);

  const TcpProxyConfig& config_;
  filter::WorkerContext& worker_;
  Downstream downstream_side_{*this};
  Upstream upstream_side_{*this};
  std::unique_ptr<net::Connection> upstream_;
  upstream::HostPtr host_;
  uint32_t cluster_id_ = model::kNoId;
  base::LocalRef<model::ClusterConfig> cluster_;
  net::ByteStats upstream_bytes_;
  base::Timer idle_timer_, duration_timer_;
  http::StreamInfo info_;
  base::Address local_;
  std::string upstream_host_, failure_;
  bool connected_ = false;
  bool downstream_eof_ = false, upstream_eof_ = false;
  bool ended_ = false;
  std::vector<std::unique_ptr<filter::TcpObserver>> observers_;
};

}  // namespace pinnace::filters::tcp_proxy
