// The response half of Router: what the upstream answers or fails to, retries, timeouts.
#include <charconv>

#include "filters/http/router/failure.h"
#include "filters/http/router/router.h"

namespace pinnace::filters::router {

using filter::LocalReply;
using http::Flag;
using http::HeaderId;
using http::ResetReason;
using model::CircuitBreakers;
using Scope = upstream::ResponseStats::Scope;

http::ResponseHead& Router::next_response() {
  base::Arena& arena = stream_.arena();
  return *new (arena.take(sizeof(http::ResponseHead), alignof(http::ResponseHead))) http::ResponseHead(arena);
}

http::HeaderMap& Router::response_trailers() {
  base::Arena& arena = stream_.arena();
  if (!response_trailers_) {
    response_trailers_ = new (arena.take(sizeof(http::HeaderMap), alignof(http::HeaderMap))) http::HeaderMap(arena);
  }
  return *response_trailers_;
}

void Router::on_informational(http::ResponseHead& head) {
  if (destroyed_) return;
  constexpr uint8_t kMost = 64;  // each stays in the stream's memory
  if (++informational_ <= kMost) return stream_.send_informational(head);
  finish_attempt(false);
  fail(ResetReason::kProtocolError, "too many informational responses");
}

void Router::on_response(http::ResponseHead& head, bool end_stream) {
  if (destroyed_) return;
  per_try_.cancel();
  stream_.info().response_start_ns = stream_.worker().loop.now_ns();
  if (retry_ && retry_response(*retry_, head)) {
    if (may_retry()) {
      charge(head.status, true);
      if (end_stream) sender_ = nullptr;
      finish_attempt(false);
      return retry_later();
    }
    if (retries_left_ == 0) {
      stream_.info().set(Flag::kUpstreamRetryLimitExceeded);
      cells().add(stats().rq_retry_limit_exceeded);
    }
  }
  responded_ = true;
  charge(head.status);
  if (!settings_.suppress_envoy_headers && request_ended_) {
    uint64_t ms = (stream_.worker().loop.now_ns() - attempt_start_ns_) / 1000000;
    char* digits = stream_.arena().take_chars(20);
    auto end = std::to_chars(digits, digits + 20, ms).ptr;
    head.headers.set(HeaderId::kEnvoyUpstreamServiceTime, {digits, static_cast<size_t>(end - digits)});
  }
  if (stream_.route()->virtual_host->include_attempt_count_in_response) {
    head.headers.set(HeaderId::kEnvoyAttemptCount, stream_.request().headers.get(HeaderId::kEnvoyAttemptCount));
  }
  stream_.info().details = "via_upstream";
  if (end_stream) response_complete();
  stream_.send_response(head, end_stream);
}

void Router::on_data(http::Bytes data, bool end_stream) {
  if (destroyed_) return;
  if (end_stream) response_complete();
  stream_.send_response_data(data, end_stream);
  if (!end_stream && sender_ && stream_.response_blocked()) sender_->set_reading(false);
}

void Router::on_trailers(http::HeaderMap& trailers) {
  if (destroyed_) return;
  response_complete();
  stream_.send_response_trailers(trailers);
}

// The upstream has said all; the codec's stream is over when the request is.
void Router::response_complete() {
  sender_ = nullptr;
  timeout_.cancel();
  per_try_.cancel();
  cells().record(stats().rq_time, (stream_.worker().loop.now_ns() - attempt_start_ns_) / 1000000);
  if (attempts_ > 1) cells().add(stats().rq_retry_success);
  finish_attempt(true);
}

// The attempt no longer counts as active. Gives its stream up when there still is one.
void Router::finish_attempt(bool success) {
  per_try_.cancel();
  if (!host_) return;
  host_->active_requests--;
  (success ? host_->success : host_->errors)++;
  cells().dec(stats().rq_active);
  if (pool_) {
    pool_->cancel(*this);
    pool_ = nullptr;
  }
  if (http::RequestSender* sender = std::exchange(sender_, nullptr)) {
    cells().add(stats().rq_tx_reset);
    sender->reset(ResetReason::kLocal);
  }
  if (tried_count_ < kMaxTried) tried_[tried_count_++] = std::move(host_);
  host_ = nullptr;
}

void Router::retry_later() {
  uint32_t limit = cluster_config_->breakers.max_retries;
  if (limit != CircuitBreakers::kUnlimited && !counted_retry_) {
    if (cluster_config_->counts->retries.fetch_add(1, std::memory_order_relaxed) >= limit) {
      cluster_config_->counts->retries.fetch_sub(1, std::memory_order_relaxed);
      cells().add(stats().rq_retry_overflow);
      return fail(ResetReason::kOverflow, "");
    }
    counted_retry_ = true;
  }
  cells().add(stats().rq_retry);
  uint32_t retry = retry_->num_retries - retries_left_ + 1;
  retries_left_--;
  back_off_.arm(back_off(*retry_, retry, stream_.worker().loop.rng().next()));
}

void Router::on_pool_failure(ResetReason reason, std::string_view detail) {
  pool_ = nullptr;
  if (reason == ResetReason::kOverflow) stream_.info().upstream_host = {};  // ENVOY: no host was asked
  on_reset(reason, detail);
}

void Router::on_reset(ResetReason reason, std::string_view detail) {
  if (destroyed_) return;
  sender_ = nullptr;
  bool sent = sent_;
  cells().add(stats().rq_rx_reset);
  bool connect = reason == ResetReason::kConnectFailed || reason == ResetReason::kConnectTimeout ||
                 reason == ResetReason::kTlsFailed;
  if (connect) stream_.info().upstream_failure = stream_.arena().copy(detail);
  finish_attempt(false);
  if (may_replay(reason)) {
    replays_++;
    attempts_--;
    return attempt();
  }
  if (!responded_ && retry_ && retry_reset(*retry_, reason, sent)) {
    if (may_retry()) return retry_later();
    if (retries_left_ == 0) {
      stream_.info().set(Flag::kUpstreamRetryLimitExceeded);
      cells().add(stats().rq_retry_limit_exceeded);
    }
  }
  fail(reason, detail);
}

void Router::fail(ResetReason reason, std::string_view detail) {
  reply(failure_reply({reason, detail, attempts_, responded_}, stream_.arena()));
}

void Router::reply(const LocalReply& answer) {
  if (!responded_) charge(answer.status);
  stream_.local_reply(answer);
}

void Router::charge(uint16_t status, bool retried) {
  // The cluster may have been removed while we waited.
  upstream::Cluster* cluster = cluster_config_ ? stream_.worker().clusters.find(cluster_id_) : nullptr;
  if (!cluster) return;
  bool internal = stream_.request().headers.get(HeaderId::kEnvoyInternal) == "true";
  Scope scope = retried ? Scope::kRetry : internal ? Scope::kInternal : Scope::kExternal;
  cluster->responses().charge(cells(), status, scope);
}

void Router::on_timeout() {
  cells().add(stats().rq_timeout);
  reply({504, "upstream request timeout", "response_timeout", http::flag_bit(Flag::kUpstreamTimeout)});
}

void Router::on_per_try_timeout() {
  cells().add(stats().rq_per_try_timeout);
  finish_attempt(false);
  bool wanted = retry_ && (retry_->retry_on & (model::kRetry5xx | model::kRetryGatewayError | model::kRetryReset));
  if (wanted && may_retry()) return retry_later();
  if (wanted && retries_left_ == 0) stream_.info().set(Flag::kUpstreamRetryLimitExceeded);
  reply({504, "upstream request timeout", "upstream_per_try_timeout", http::flag_bit(Flag::kUpstreamTimeout)});
}

}  // namespace pinnace::filters::router
