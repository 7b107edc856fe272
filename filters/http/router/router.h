// The router: the terminal HTTP filter. Sends the request to a host of the route's cluster, tries again where the retry
// policy says so, and passes the response back. envoy.filters.http.router.
#pragma once

#include <array>

#include "filters/http/router/retry.h"
#include "filters/http/router/settings.h"
#include "proxy/filter/http_filter.h"
#include "proxy/upstream/pool/http_pool.h"

namespace pinnace::filters::router {

class RouterConfig final : public filter::HttpFilterConfig {
 public:
  explicit RouterConfig(RouterSettings settings) : settings_(settings) {}
  filter::HttpFilter* create(filter::HttpStream& stream) const override;

 private:
  RouterSettings settings_;
};

class Router final : public filter::HttpFilter, private http::ResponseReceiver, private upstream::PoolWaiter {
 public:
  Router(filter::HttpStream& stream, const RouterSettings& settings);

  filter::Next on_request(bool end_stream) override;
  void on_request_data(http::Bytes& data, bool end_stream) override;
  void on_request_trailers(http::HeaderMap& trailers) override;
  void on_response_writable() override;
  void on_destroy() override;

 private:
  static constexpr size_t kMaxTried = 8;
  static constexpr uint8_t kMaxReplays = 3;
  static constexpr size_t kMostReplayed = 64 * 1024;  // of a body

  // http::ResponseReceiver
  base::Arena& arena() override { return stream_.arena(); }
  http::ResponseHead& next_response() override;
  http::HeaderMap& response_trailers() override;
  void on_informational(http::ResponseHead& head) override;
  void on_response(http::ResponseHead& head, bool end_stream) override;
  void on_data(http::Bytes data, bool end_stream) override;
  void on_trailers(http::HeaderMap& trailers) override;
  void on_reset(http::ResetReason reason, std::string_view detail) override;
  void on_writable() override;

  // upstream::PoolWaiter
  http::ResponseReceiver& receiver() override { return *this; }
  void on_pool_ready(http::RequestSender& sender, const net::Connection& connection, bool reused) override;
  bool once_only() const override { return !idempotent_; }
  bool wants_fresh() const override { return replays_ == kMaxReplays; }
  void on_pool_failure(http::ResetReason reason, std::string_view detail) override;

  bool choose_cluster();
  // Returns what the upstream is told of them (x-envoy-expected-rq-timeout-ms); 0: nothing.
  uint64_t set_timeouts();
  void attempt();
  void send_body();
  bool may_retry() const;
  // The body is kept for a retry or a replay.
  bool keep_body(size_t size) const;
  static bool is_idempotent(std::string_view method);
  bool may_replay(http::ResetReason reason) const;
  upstream::PoolKey pool_key() const;
  http::Protocol upstream_protocol(upstream::PoolProtocol protocol) const;
  void retry_later();
  void finish_attempt(bool success);
  void response_complete();
  void fail(http::ResetReason reason, std::string_view detail);
  void reply(const filter::LocalReply& reply);
  void on_timeout();
  void on_per_try_timeout();
  // Counts a response under its code; `retried`: one that is not passed on.
  void charge(uint16_t status, bool retried = false);
  stats::Cells& cells() { return stream_.worker().loop.cells(); }
  const model::ClusterStats& stats() const { return cluster_config_->stats; }

  filter::HttpStream& stream_;
  const RouterSettings& settings_;
  const model::RouteAction* action_ = nullptr;
  const model::RetryPolicy* retry_ = nullptr;
  std::unique_ptr<const model::RetryPolicy> asked_;  // by the client
  upstream::Cluster* cluster_ = nullptr;
  uint32_t cluster_id_ = 0;
  base::LocalRef<model::ClusterConfig> cluster_config_;
  upstream::HostPtr host_;
  upstream::HttpPool* pool_ = nullptr;  // while waiting
  http::RequestSender* sender_ = nullptr;
  base::Chain body_;  // kept for a retry, or until a connection is there
  http::HeaderMap* request_trailers_ = nullptr;
  http::HeaderMap* response_trailers_ = nullptr;
  base::Timer timeout_, per_try_, back_off_;
  uint64_t timeout_ms_ = 0, per_try_ms_ = 0;
  uint64_t attempt_start_ns_ = 0;
  uint8_t informational_ = 0;  // 1xx of this attempt
  uint8_t replays_ = 0;        // of attempts that met a connection its peer was closing
  uint32_t retries_left_ = 0;
  uint32_t attempts_ = 0;
  std::array<upstream::HostPtr, kMaxTried> tried_;
  size_t tried_count_ = 0;
  bool request_ended_ = false;
  bool head_ended_ = false;              // the head was all of it
  bool body_complete_in_buffer_ = true;  // false once body bytes were let go: no retry
  bool responded_ = false;               // the response head went downstream
  bool counted_request_ = false;         // against max_requests
  bool counted_retry_ = false;
  bool sent_ = false;    // this attempt's head was written
  bool reused_ = false;  // on a connection that had carried another
  bool idempotent_ = false;
  bool tunnel_ = false;
  bool destroyed_ = false;
};

}  // namespace pinnace::filters::router
