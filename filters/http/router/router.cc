#include "filters/http/router/router.h"

#include <charconv>

#include "filters/http/router/failure.h"
#include "filters/http/router/rewrite.h"
#include "proxy/filter/upstream_alpn.h"
#include "proxy/http/authority.h"
#include "proxy/http/grpc.h"
#include "proxy/route/match.h"

namespace pinnace::filters::router {

using http::Flag;
using http::HeaderId;
using http::ResetReason;
using model::CircuitBreakers;

namespace {

uint64_t header_number(const http::HeaderMap& headers, HeaderId id, uint64_t fallback) {
  std::string_view text = headers.get(id);
  uint64_t value = 0;
  auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  return !text.empty() && parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() ? value : fallback;
}

}  // namespace

filter::HttpFilter* RouterConfig::create(filter::HttpStream& stream) const {
  return filter::make_in_arena<Router>(stream.arena(), stream, settings_);
}

Router::Router(filter::HttpStream& stream, const RouterSettings& settings)
    : stream_(stream), settings_(settings), body_(stream.worker().loop.blocks()) {
  base::TimerWheel& wheel = stream.worker().loop.timers();
  timeout_.init(
      wheel, [](void* self) { static_cast<Router*>(self)->on_timeout(); }, this);
  per_try_.init(
      wheel, [](void* self) { static_cast<Router*>(self)->on_per_try_timeout(); }, this);
  back_off_.init(
      wheel, [](void* self) { static_cast<Router*>(self)->attempt(); }, this);
}

filter::Next Router::on_request(bool end_stream) {
  request_ended_ = head_ended_ = end_stream;
  action_ = &*stream_.route()->action;
  retry_ = action_->retry                         ? &*action_->retry
           : stream_.route()->virtual_host->retry ? &*stream_.route()->virtual_host->retry
                                                  : nullptr;
  if (!choose_cluster()) return filter::Next::kHold;
  if (auto asked = take_asked_retries(stream_.request().headers, retry_)) {
    asked_ = std::make_unique<model::RetryPolicy>(std::move(*asked));
    retry_ = asked_.get();
  }
  if (retry_) retries_left_ = retry_->num_retries;
  tunnel_ = stream_.request().wants_tunnel();
  idempotent_ = !tunnel_ && is_idempotent(stream_.request().method);
  uint64_t expected_ms = set_timeouts();
  finalize_request(stream_, settings_, expected_ms);
  if (end_stream && timeout_ms_ > 0) timeout_.arm(timeout_ms_);
  attempt();
  return filter::Next::kContinue;
}

// RFC 9110 9.2.2.
bool Router::is_idempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" || method == "OPTIONS" ||
         method == "TRACE";
}

bool Router::choose_cluster() {
  const model::WeightedCluster* chosen = stream_.cluster_choice();
  cluster_ = chosen ? stream_.worker().clusters.find(chosen->cluster_id) : nullptr;
  if (!chosen || !cluster_) {
    reply({action_->cluster_not_found_code, "", "cluster_not_found", http::flag_bit(Flag::kNoClusterFound)});
    return false;
  }
  cluster_id_ = chosen->cluster_id;
  cluster_config_ = cluster_->config_ref();
  stream_.info().cluster_stat_name = cluster_config_->stat_name;  // the log is written before we go
  return true;
}

uint64_t Router::set_timeouts() {
  http::HeaderMap& headers = stream_.request().headers;
  uint64_t route_limit = action_->timeout_ms;
  bool grpc = action_->max_grpc_timeout_ms && http::is_grpc_type(headers.get(HeaderId::kContentType));
  if (grpc) {  // ENVOY: the client's deadline within the maximum (0: none); without one the maximum
    uint64_t most = *action_->max_grpc_timeout_ms, offset = action_->grpc_timeout_offset_ms;
    route_limit = http::grpc_timeout_ms(headers.get(HeaderId::kGrpcTimeout)).value_or(0);
    if (most > 0 && (route_limit == 0 || route_limit > most)) route_limit = most;
    if (route_limit > offset) route_limit -= offset;
  }
  timeout_ms_ = header_number(headers, HeaderId::kEnvoyUpstreamTimeout, route_limit);
  per_try_ms_ = header_number(headers, HeaderId::kEnvoyPerTryTimeout, retry_ ? retry_->per_try_timeout_ms : 0);
  headers.remove(HeaderId::kEnvoyUpstreamTimeout);
  headers.remove(HeaderId::kEnvoyPerTryTimeout);
  if (timeout_ms_ > 0 && per_try_ms_ >= timeout_ms_) per_try_ms_ = 0;
  const uint64_t expected = per_try_ms_ > 0 ? per_try_ms_ : timeout_ms_;
  if (tunnel_) timeout_ms_ = per_try_ms_ = 0;  // a tunnel lasts as long as its ends want
  uint64_t told = expected;                    // in grpc-timeout
  // ENVOY: max_stream_duration's word on it is enforced there, and told in the same way.
  if (!grpc && action_->grpc_timeout_header_max_ms && http::is_grpc_type(headers.get(HeaderId::kContentType))) {
    auto said = http::grpc_timeout_ms(headers.get(HeaderId::kGrpcTimeout));
    uint64_t most = *action_->grpc_timeout_header_max_ms;
    if (said && *said > 0) {
      grpc = true;
      told = most > 0 ? std::min(most, *said) : *said;
    }
  }
  if (grpc && told > 0) {
    headers.set(HeaderId::kGrpcTimeout, http::grpc_timeout_text(told, stream_.arena().take_chars(24)));
  }
  return expected;
}

// One try: a host, then a stream on a connection to it.
void Router::attempt() {
  if (destroyed_) return;
  // The cluster may have gone or changed while we waited to retry.
  cluster_ = stream_.worker().clusters.find(cluster_id_);
  if (!cluster_) return reply({503, "", "cluster_not_found", http::flag_bit(Flag::kNoClusterFound)});
  const upstream::Host* avoid[kMaxTried];
  for (size_t i = 0; i < tried_count_; i++) avoid[i] = tried_[i].get();
  upstream::PickContext context;
  context.original_destination = &stream_.destination();
  if (retry_ && retry_->avoid_previous_hosts) {
    context.avoid = {avoid, tried_count_};
    context.avoid_attempts = retry_->host_selection_attempts;
  }
  attempts_++;
  stream_.info().attempts = attempts_;
  stream_.info().response_start_ns = 0;
  stream_.info().upstream_protocol = {};
  host_ = cluster_->pick(context).host;
  if (!host_) {
    cells().add(stats().cx_none_healthy);
    return reply({503, "no healthy upstream", "no_healthy_upstream", http::flag_bit(Flag::kNoHealthyUpstream)});
  }
  stream_.info().upstream_host = stream_.arena().copy(host_->endpoint->text);
  stream_.info().upstream_workload = stream_.arena().copy(host_->endpoint->workload);
  uint32_t limit = cluster_config_->breakers.max_requests;
  if (limit != CircuitBreakers::kUnlimited && !counted_request_) {
    counted_request_ = true;
    if (cluster_config_->counts->requests.fetch_add(1, std::memory_order_relaxed) >= limit) {
      host_ = nullptr;
      return fail(ResetReason::kOverflow, "");
    }
  }
  if (stream_.route()->virtual_host->include_attempt_count) {
    set_number(stream_, HeaderId::kEnvoyAttemptCount, attempts_);
  }
  if (action_->auto_host_rewrite && !host_->endpoint->hostname.empty()) {
    stream_.request().authority = stream_.arena().copy(host_->endpoint->hostname);
  }
  sent_ = false;
  attempt_start_ns_ = stream_.worker().loop.now_ns();
  host_->active_requests++;
  host_->total_requests++;
  cells().add(stats().rq_total);
  cells().inc(stats().rq_active);
  pool_ = &upstream::pool_of(*cluster_, *host_, pool_key());
  if (per_try_ms_ > 0 && request_ended_) per_try_.arm(per_try_ms_);
  pool_->request(*this);
}

upstream::PoolKey Router::pool_key() const {
  using upstream::PoolProtocol;
  upstream::PoolKey key;
  const model::ClusterConfig& now = *cluster_->config_ref();  // it may have changed since the first try
  switch (now.protocol) {
    case model::UpstreamProtocol::kHttp1: key.protocol = PoolProtocol::kHttp1; break;
    case model::UpstreamProtocol::kHttp2: key.protocol = PoolProtocol::kHttp2; break;
    case model::UpstreamProtocol::kAuto: key.protocol = PoolProtocol::kAuto; break;
    case model::UpstreamProtocol::kUseDownstream:
      key.protocol = stream_.request().protocol == http::Protocol::kHttp2 ? PoolProtocol::kHttp2 : PoolProtocol::kHttp1;
  }
  if (stream_.source().address.is_ip()) key.source = stream_.source();
  if (action_->terminate_connect && stream_.request().method == "CONNECT") key.protocol = PoolProtocol::kTcp;
  const auto& socket = now.sockets[host_->endpoint->socket];
  if (!socket.tls) return key;
  if (socket.tls->auto_sni || socket.tls->auto_san_validation) {
    key.sni = http::without_brackets(http::without_port(stream_.request().authority));
  }
  if (const auto* alpn = stream_.state().find<filter::UpstreamAlpn>()) {
    key.alpn = (*alpn->overrides)[static_cast<size_t>(upstream_protocol(key.protocol))];
  }
  return key;
}

// ENVOY: what the connection is meant to speak, not what ALPN will say.
http::Protocol Router::upstream_protocol(upstream::PoolProtocol protocol) const {
  using upstream::PoolProtocol;
  if (protocol == PoolProtocol::kHttp2 || protocol == PoolProtocol::kAuto) return http::Protocol::kHttp2;
  bool as_client = cluster_config_->protocol == model::UpstreamProtocol::kUseDownstream;
  return as_client ? stream_.request().protocol : http::Protocol::kHttp11;
}

void Router::on_pool_ready(http::RequestSender& sender, const net::Connection& connection, bool reused) {
  const net::TlsInfo* tls = connection.tls();
  upstream::PoolProtocol spoken = pool_->key().protocol;
  if (spoken == upstream::PoolProtocol::kAuto && tls && tls->alpn == "h2") spoken = upstream::PoolProtocol::kHttp2;
  stream_.info().upstream_protocol = spoken == upstream::PoolProtocol::kTcp     ? std::string_view()
                                     : spoken == upstream::PoolProtocol::kHttp2 ? "HTTP/2"
                                                                                : "HTTP/1.1";
  pool_ = nullptr;
  sender_ = &sender;
  reused_ = reused;
  sent_ = true;
  http::StreamInfo& info = stream_.info();
  info.upstream_local_address = connection.local_address();
  info.upstream_sent_ns = stream_.worker().loop.now_ns();
  if (tls) {  // the connection may be gone when metrics are made
    auto first = [&](const std::vector<std::string>& sans) {
      return sans.empty() ? std::string_view() : stream_.arena().copy(sans.front());
    };
    info.upstream_peer_principal = first(tls->peer_uri_sans);
    info.upstream_local_principal = first(tls->local_uri_sans);
  }
  // An empty body that came in a frame of its own goes out so: gRPC servers tell it from none.
  sender.send_request(stream_.request(), head_ended_);
  if (!head_ended_ && sender_ == &sender) send_body();
}

// What waited for the connection, or is sent again.
void Router::send_body() {
  size_t left = body_.size();
  bool ends_here = request_ended_ && !request_trailers_;
  http::RequestSender* sender = sender_;
  if (left == 0 && ends_here) sender->send_data({}, true);
  body_.each([&](http::Bytes part) {
    left -= part.size();
    if (sender_ == sender) sender->send_data(part, ends_here && left == 0);
  });
  if (request_trailers_ && sender_ == sender) sender->send_trailers(*request_trailers_);
  if (!keep_body(body_.size())) {
    // The pieces are borrowed until the dispatch ends.
    stream_.worker().loop.flush_writes();
    body_.clear();
    body_complete_in_buffer_ = false;
  }
  if (sender_ && !sender_->blocked()) stream_.set_request_reading(true);
}

bool Router::keep_body(size_t size) const {
  return may_retry() || (body_complete_in_buffer_ && !responded_ && size <= kMostReplayed);
}

bool Router::may_retry() const { return retry_ && retries_left_ > 0 && body_complete_in_buffer_ && !responded_; }

// A kept-alive connection that its peer closed just as we used it, and a stream that the peer says it never looked at,
// are nobody's failure: the request goes out again, unasked. Only where it was not acted on (RFC 9113 8.7) or may be
// acted on twice (RFC 9110 9.2.2), and nothing of the body is gone. UNLIKE ENVOY: it answers 503.
bool Router::may_replay(ResetReason reason) const {
  if (responded_ || tunnel_ || !body_complete_in_buffer_ || replays_ == kMaxReplays || !sent_) return false;
  if (reason == ResetReason::kRefused) return true;
  return idempotent_ && reused_ && (reason == ResetReason::kPeerClosed || reason == ResetReason::kPeerReset);
}

void Router::on_request_data(http::Bytes& data, bool end_stream) {
  if (destroyed_) return;
  request_ended_ = end_stream;
  if (end_stream && timeout_ms_ > 0) timeout_.arm(timeout_ms_);
  if (end_stream && per_try_ms_ > 0) per_try_.arm(per_try_ms_);
  bool fits = !sender_ || body_.size() + data.size() <= stream_.buffer_limit();
  if (fits && (!sender_ || keep_body(body_.size() + data.size()))) {
    body_.append(data);
  } else if (!data.empty()) {  // ENVOY: a body beyond the buffer limit gives up retrying
    body_.clear();
    body_complete_in_buffer_ = false;
  }
  if (!sender_) {
    if (body_.size() > stream_.buffer_limit()) stream_.set_request_reading(false);
    return;
  }
  sender_->send_data(data, end_stream);
  if (sender_ && sender_->blocked()) stream_.set_request_reading(false);
}

void Router::on_request_trailers(http::HeaderMap& trailers) {
  if (destroyed_) return;
  request_ended_ = true;
  request_trailers_ = &trailers;
  if (timeout_ms_ > 0) timeout_.arm(timeout_ms_);
  if (sender_) sender_->send_trailers(trailers);
}

void Router::on_writable() { stream_.set_request_reading(true); }

void Router::on_response_writable() {
  if (sender_) sender_->set_reading(true);
}

void Router::on_destroy() {
  if (destroyed_) return;
  timeout_.cancel();
  back_off_.cancel();
  finish_attempt(responded_ && !sender_);
  destroyed_ = true;
  if (cluster_config_ && counted_request_) cluster_config_->counts->requests.fetch_sub(1, std::memory_order_relaxed);
  if (cluster_config_ && counted_retry_) cluster_config_->counts->retries.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace pinnace::filters::router
