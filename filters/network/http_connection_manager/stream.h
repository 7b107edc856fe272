// Stream: one request on its way through the HTTP filters and its response on the way back. Ends in exactly one access
// log entry. THREAD: the connection's worker. LIFETIME: owned by its HcmSession until stream_ended().
#pragma once

#include "filters/network/http_connection_manager/config.h"
#include "proxy/base/recycled.h"

namespace pinnace::filters::hcm {

class HcmSession;

class Stream final : public base::Deferred,
                     public base::Recycled<Stream, 1024>,
                     public http::RequestReceiver,
                     public filter::HttpStream {
 public:
  Stream(HcmSession& session, http::ResponseSender& sender);
  ~Stream() override;

  // ENVOY: ended without an answer within premature_reset_s, in whole seconds.
  bool premature() const {
    return info_.response_code == 0 && (info_.end_ns - info_.start_ns) / 1000000000 <= settings().premature_reset_s;
  }
  // The connection is going: end without answering.
  void connection_ended(std::string_view detail);
  // The head is still arriving: stream_idle_timeout counts.
  void await_head();

  // http::RequestReceiver
  base::Arena& arena() override { return arena_; }
  http::RequestHead& request() override { return request_; }
  http::HeaderMap& request_trailers() override;
  void on_request(bool end_stream) override;
  void on_bad_request(uint16_t status, std::string_view detail) override;
  void on_data(http::Bytes data, bool end_stream) override;
  void on_trailers(http::HeaderMap& trailers) override;
  void on_reset(http::ResetReason reason, std::string_view detail) override;
  void on_writable() override;

  // filter::HttpStream
  filter::WorkerContext& worker() override { return worker_; }
  http::StreamInfo& info() override { return info_; }
  filter::FilterState& state() override { return state_; }
  const model::Route* route() override { return route_; }
  const model::WeightedCluster* cluster_choice() override { return cluster_choice_; }
  const net::Connection& downstream() override;
  const base::Address& destination() override;
  const net::Source& source() override;
  uint32_t buffer_limit() override;
  bool request_ended() const override { return request_ended_; }
  void resume() override;
  void local_reply(const filter::LocalReply& reply) override;
  void send_informational(http::ResponseHead& head) override;
  void send_response(http::ResponseHead& head, bool end_stream) override;
  void send_response_data(http::Bytes data, bool end_stream) override;
  void send_response_trailers(http::HeaderMap& trailers) override;
  bool response_started() const override { return response_started_; }
  bool response_blocked() const override { return sender_ && sender_->blocked(); }
  void set_request_reading(bool on) override;

 private:
  const Settings& settings() const { return settings_; }
  stats::Cells& cells() { return worker_.loop.cells(); }
  bool accept_request();
  bool check_underscores();
  bool resolve_route();
  void choose_cluster(const model::RouteAction& action);
  bool accept_action(const model::RouteAction& action);
  bool upgrade_allowed(const model::RouteAction& action) const;
  static void arm(base::Timer& timer, uint64_t ms);
  bool answer_without_upstream();
  // Answers and closes: what the client sent leaves no way to go on.
  void refuse(filter::LocalReply reply);
  void start_filters(bool end_stream);
  void decorate_request();
  void decorate_response(http::ResponseHead& head);
  void run_request(size_t from, bool end_stream);
  void pass_request_data(http::Bytes data, bool end_stream);
  void deliver_held();
  // On from the filter before `from`; a filter may hold the head back.
  void pass_head(size_t from, bool end_stream);
  void pass_data(size_t from, http::Bytes data, bool end_stream);
  void touch();
  void on_timeout(std::string_view details, uint16_t status, http::Flag flag);
  void request_done();
  void response_done();
  void maybe_end();
  void end();
  void destroy_filters();

  HcmSession& session_;
  const Settings& settings_;
  filter::WorkerContext& worker_;
  http::ResponseSender* sender_;
  base::Arena arena_;
  http::RequestHead request_;
  http::ResponseHead* response_ = nullptr;
  http::HeaderMap* trailers_ = nullptr;
  http::StreamInfo info_;
  filter::FilterState state_;
  filter::RouteConfigRef routes_;
  const model::Route* route_ = nullptr;
  const model::WeightedCluster* cluster_choice_ = nullptr;
  filter::HttpFilter** filters_ = nullptr;
  size_t filter_count_ = 0;
  size_t at_filter_ = 0;  // the filter that holds the request; filter_count_ when none does
  base::Chain held_;      // body that waits for it
  bool held_end_ = false;
  base::Timer idle_timer_, request_timer_, duration_timer_;
  uint64_t idle_ms_ = 0;
  static constexpr size_t kNowhere = static_cast<size_t>(-1);
  size_t head_at_ = kNowhere;  // the filter that holds the response's head
  bool request_ended_ = false;
  bool response_started_ = false;
  bool response_ended_ = false;
  bool filters_done_ = false;
  bool ended_ = false;
  bool head_seen_ = false;
  bool needs_tls_ = false;  // virtual_host.require_tls
  bool grpc_ = false;       // the client speaks gRPC, whatever the filters make of its request
  bool counted_upgrade_ = false;
  bool decorates_response_ = false;
  const http::HeaderMap* sent_trailers_ = nullptr;
  bool close_connection_ = false;  // after this answer
  bool informed_ = false;          // a 1xx went out
};

}  // namespace pinnace::filters::hcm
