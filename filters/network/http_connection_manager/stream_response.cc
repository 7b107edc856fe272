// The response half of Stream: what filters and the router send back, and the end with its access log entry.
#include "filters/network/http_connection_manager/connection.h"
#include "filters/network/http_connection_manager/local_reply.h"
#include "filters/network/http_connection_manager/request_headers.h"
#include "filters/network/http_connection_manager/stream.h"
#include "proxy/http/mutations.h"

namespace pinnace::filters::hcm {

using filter::LocalReply;
using http::Flag;
using http::HeaderId;

void Stream::local_reply(const LocalReply& reply) {
  if (ended_) return;
  for (unsigned i = 0; i < static_cast<unsigned>(Flag::kCount); i++) {
    if (reply.flags & http::flag_bit(static_cast<Flag>(i))) info_.set(static_cast<Flag>(i));
  }
  info_.details = reply.details;
  if (reply.close) close_connection_ = true;
  if (response_started_) {  // too late for another answer
    destroy_filters();
    http::ResponseSender* sender = std::exchange(sender_, nullptr);
    cells().add(settings().stats.rq_tx_reset);
    end();
    if (sender) sender->reset(http::ResetReason::kLocal);
    return;
  }
  auto [head, body] = make_response(reply, head_seen_ ? &request_ : nullptr, grpc_, arena_);
  send_response(head, body.empty());
  if (body.empty() || ended_) return;
  send_response_data({reinterpret_cast<const uint8_t*>(body.data()), body.size()}, true);
}

void Stream::send_informational(http::ResponseHead& head) {
  // ENVOY: the first one passes, and only where proxy_100_continue says so.
  if (!settings().proxy_100_continue || std::exchange(informed_, true)) return;
  if (sender_ && !response_started_) sender_->send_informational(head);
}

void Stream::send_response(http::ResponseHead& head, bool end_stream) {
  if (ended_ || !sender_) return;
  touch();
  response_ = &head;
  response_started_ = true;
  info_.response_code = head.status;
  pass_head(filter_count_, end_stream);
}

void Stream::pass_head(size_t from, bool end_stream) {
  http::ResponseHead& head = *response_;
  head_at_ = kNowhere;
  for (size_t i = from; i-- > 0 && !filters_done_;) {
    if (filters_[i]->on_response_head(head, end_stream) == filter::Next::kContinue) continue;
    head_at_ = i;
    return;
  }
  if (ended_) return;
  if (route_) {
    http::apply(route_->response_headers, head.headers);
    http::apply(route_->virtual_host->response_headers, head.headers);
    http::apply(route_->virtual_host->config->response_headers, head.headers);
  }
  mutate_response(head, settings(), request_, worker().loop.wall_ns());
  if (settings().tracing) decorate_response(head);
  if (close_connection_) head.headers.add(HeaderId::kConnection, "close");  // the codec's word; h2 leaves it out
  http::ResponseSender* sender = sender_;
  if (end_stream) response_done();
  sender->send_response(head, end_stream);
  if (end_stream) maybe_end();
}

void Stream::send_response_data(http::Bytes data, bool end_stream) {
  if (ended_ || !sender_) return;
  touch();
  pass_data(filter_count_, data, end_stream);
}

void Stream::pass_data(size_t from, http::Bytes data, bool end_stream) {
  for (size_t i = from; i-- > 0 && !filters_done_;) {
    if (filters_[i]->on_response_data(data, end_stream) == filter::Next::kHold) return;
    if (head_at_ == i) pass_head(i, false);
  }
  if (ended_ || (data.empty() && !end_stream)) return;
  info_.bytes_sent += data.size();
  http::ResponseSender* sender = sender_;
  if (end_stream) response_done();
  sender->send_data(data, end_stream);
  if (end_stream) maybe_end();
}

void Stream::send_response_trailers(http::HeaderMap& trailers) {
  if (ended_ || !sender_) return;
  mutate_trailers(trailers);
  for (size_t i = filter_count_; i-- > 0 && !filters_done_;) {
    filter::Tail tail;
    filters_[i]->on_response_trailers(trailers, tail);
    if (head_at_ == i) pass_head(i, false);
    if (!tail.before.empty()) pass_data(i, tail.before, false);
    if (!tail.instead.empty()) return pass_data(i, tail.instead, true);
  }
  if (ended_) return;
  http::ResponseSender* sender = sender_;
  response_done();
  sent_trailers_ = &trailers;
  sender->send_trailers(trailers);
  maybe_end();
}

void Stream::end() {
  ended_ = true;
  idle_timer_.cancel();
  request_timer_.cancel();
  duration_timer_.cancel();
  destroy_filters();
  const HcmStats& stats = settings().stats;
  stats::Cells& cells = this->cells();
  base::EventLoop& loop = worker().loop;
  info_.end_ns = loop.now_ns();
  cells.dec(stats.rq_active);
  if (counted_upgrade_) cells.dec(stats.cx_upgrades_active);
  if (response_started_) {
    cells.add(stats.rq_completed);
    cells.add(stats.rq_code_class[std::min<size_t>(info_.response_code / 100, 5)]);
    cells.record(stats.rq_time, (info_.end_ns - info_.start_ns) / 1000000);
  }
  for (size_t i = 0; i < filter_count_; i++) filters_[i]->on_log();
  access_log::Entry entry{info_, head_seen_ ? &request_ : nullptr, response_, sent_trailers_, false, &state_};
  for (const auto& logger : settings().access_logs) logger->log(entry, worker().logs);
  session_.stream_ended(*this);
}

}  // namespace pinnace::filters::hcm
