#include "filters/network/http_connection_manager/stream.h"

#include "filters/network/http_connection_manager/connection.h"
#include "filters/network/http_connection_manager/request_headers.h"
#include "proxy/http/grpc.h"
#include "proxy/http/h1/encoder.h"

namespace pinnace::filters::hcm {

using filter::LocalReply;
using http::Flag;
using http::HeaderId;

Stream::Stream(HcmSession& session, http::ResponseSender& sender)
    : session_(session),
      settings_(session.settings()),
      worker_(session.worker()),
      sender_(&sender),
      arena_(session.worker().loop.blocks()),
      request_(arena_),
      held_(session.worker().loop.blocks()) {
  base::EventLoop& loop = session.worker().loop;
  info_.start_wall_ns = loop.wall_ns();
  info_.start_ns = loop.now_ns();
  info_.local_address = &session.local();
  info_.direct_remote_address = &session.direct_remote();
  info_.remote_address = session.remote();
  info_.tls = session.downstream().tls();
  info_.requested_server_name = session.accepted().server_name;
  info_.protocol = http::protocol_name(session.protocol());
  idle_timer_.init(
      loop.timers(),
      [](void* self) { static_cast<Stream*>(self)->on_timeout("stream_idle_timeout", 408, Flag::kStreamIdleTimeout); },
      this);
  duration_timer_.init(
      loop.timers(),
      [](void* self) { static_cast<Stream*>(self)->on_timeout("max_duration_timeout", 504, Flag::kDurationTimeout); },
      this);
  request_timer_.init(
      loop.timers(),
      [](void* self) {
        static_cast<Stream*>(self)->on_timeout("request_overall_timeout", 408, Flag::kDownstreamProtocolError);
      },
      this);
  stats::Cells& cells = this->cells();
  cells.add(settings().stats.rq_total);
  cells.inc(settings().stats.rq_active);
  cells.add(session.protocol() == http::Protocol::kHttp2 ? settings().stats.rq_http2_total
                                                         : settings().stats.rq_http1_total);
}

Stream::~Stream() {
  destroy_filters();
  for (size_t i = 0; i < filter_count_; i++) filters_[i]->~HttpFilter();
}

const net::Connection& Stream::downstream() { return session_.downstream(); }
const net::Source& Stream::source() { return session_.accepted().source; }

const base::Address& Stream::destination() { return session_.local(); }
uint32_t Stream::buffer_limit() { return session_.accepted().listener->buffer_limit; }

http::HeaderMap& Stream::request_trailers() {
  if (!trailers_)
    trailers_ = new (arena_.take(sizeof(http::HeaderMap), alignof(http::HeaderMap))) http::HeaderMap(arena_);
  return *trailers_;
}

void Stream::on_request(bool end_stream) {
  head_seen_ = true;
  grpc_ = http::is_grpc_type(request_.headers.get(HeaderId::kContentType));
  if (end_stream) request_done();
  idle_ms_ = settings().stream_idle_timeout_ms;
  if (idle_ms_ > 0) idle_timer_.arm(idle_ms_);
  info_.protocol = http::protocol_name(request_.protocol);
  if (!end_stream && settings().request_timeout_ms > 0) request_timer_.arm(settings().request_timeout_ms);
  if (settings().max_stream_ms > 0) duration_timer_.arm(settings().max_stream_ms);
  if (!accept_request()) return;
  if (resolve_route()) start_filters(end_stream);
}

// What makes a request unfit for routing, and the one normalisation of its path and headers.
bool Stream::accept_request() {
  if (settings().underscores != Settings::Underscores::kAllow && !check_underscores()) return false;
  if (request_.protocol == http::Protocol::kHttp10 && !settings().accept_http10) {
    refuse({426, "Upgrade Required", "low_version", http::flag_bit(Flag::kDownstreamProtocolError)});
    return false;
  }
  if (request_.authority.data() == nullptr) {  // an empty Host is one
    if (request_.protocol == http::Protocol::kHttp10 && !settings().default_host_http10.empty()) {
      request_.authority = settings().default_host_http10;
    } else {
      refuse({400, "", "missing_host_header"});
      return false;
    }
  }
  if (request_.path == "*") {  // ENVOY: no route can match what is no path
    local_reply({404, "", "absolute_path_rejected"});
    return false;
  }
  std::string_view path = request_.path;
  switch (http::normalize_path(path, settings().path, arena_)) {
    case http::PathAction::kForward: break;
    case http::PathAction::kReject: refuse({400, "", "path_normalization_failed"}); return false;
    case http::PathAction::kRedirect:
      local_reply({307, "", "path_normalization_failed", 0, "location", path});
      return false;
  }
  request_.path = path;
  bool expects_continue = http::equals_ignore_case(request_.headers.get(HeaderId::kExpect), "100-continue");
  mutate_request(request_, settings(), session_.downstream(), session_.client_cert(), worker().loop.rng(),
                 info_.remote_address);
  if (expects_continue && !settings().proxy_100_continue) {
    http::ResponseHead head(arena_);
    head.status = 100;
    if (sender_) sender_->send_informational(head);
  }
  return true;
}

// ENVOY: origins that make "_" of "-" would take such a name for another.
bool Stream::check_underscores() {
  http::HeaderMap& headers = request_.headers;
  for (const http::Header* field = headers.begin(); field != headers.end();) {
    if (field->name.find('_') == std::string_view::npos) {
      ++field;
    } else if (settings().underscores == Settings::Underscores::kReject) {
      cells().add(settings().stats.rq_underscores_rejected);
      refuse({400, "", "unexpected_underscore"});
      return false;
    } else {
      cells().add(settings().stats.underscores_dropped);
      headers.remove(field->name);
      field = headers.begin();
    }
  }
  return true;
}

void Stream::refuse(LocalReply reply) {
  reply.close = true;
  local_reply(reply);
}

void Stream::arm(base::Timer& timer, uint64_t ms) {
  if (ms > 0) {
    timer.arm(ms);
  } else {
    timer.cancel();
  }
}

void Stream::start_filters(bool end_stream) {
  if (settings().tracing) decorate_request();
  const auto& configs = settings().filters;
  filters_ = arena_.take_array<filter::HttpFilter*>(configs.size());
  for (const auto& config : configs) {
    filters_[filter_count_] = config->create(*this);
    filter_count_++;
  }
  at_filter_ = filter_count_;
  run_request(0, end_stream);
}

void Stream::run_request(size_t from, bool end_stream) {
  for (size_t i = from; i < filter_count_ && !ended_ && !filters_done_; i++) {
    if (i + 1 == filter_count_ && answer_without_upstream()) return;
    if (filters_[i]->on_request(end_stream) == filter::Next::kHold) {
      at_filter_ = i;
      return;
    }
  }
}

void Stream::resume() {
  if (ended_ || filters_done_ || at_filter_ >= filter_count_) return;
  size_t from = std::exchange(at_filter_, filter_count_) + 1;
  run_request(from, request_ended_ && held_.empty() && !held_end_);
  if (at_filter_ >= filter_count_) deliver_held();
}

// The body that came while a filter held the request.
void Stream::deliver_held() {
  base::Chain body = std::move(held_);
  bool end = std::exchange(held_end_, false);
  set_request_reading(true);
  if (body.empty() && !end) return;
  size_t left = body.size();
  if (left == 0) return on_data({}, end);
  body.each([&](http::Bytes part) {
    left -= part.size();
    pass_request_data(part, end && left == 0);
  });
}

void Stream::pass_request_data(http::Bytes data, bool end_stream) {
  bool some = !data.empty() || end_stream;
  for (size_t i = 0; i < filter_count_ && some && !ended_ && !filters_done_; i++) {
    filters_[i]->on_request_data(data, end_stream);
    some = !data.empty() || end_stream;
  }
}

void Stream::touch() {
  if (idle_timer_.armed()) idle_timer_.arm(idle_ms_);
}

void Stream::on_data(http::Bytes data, bool end_stream) {
  if (ended_) return;
  info_.bytes_received += data.size();
  touch();
  if (end_stream) request_done();
  if (filters_done_) return maybe_end();
  if (at_filter_ < filter_count_) {
    held_.append(data);
    held_end_ = end_stream;
    if (held_.size() > buffer_limit()) set_request_reading(false);
    return;
  }
  pass_request_data(data, end_stream);
  maybe_end();
}

void Stream::on_trailers(http::HeaderMap& trailers) {
  if (ended_) return;
  mutate_trailers(trailers);
  request_done();
  for (size_t i = 0; i < filter_count_ && !ended_ && !filters_done_; i++) filters_[i]->on_request_trailers(trailers);
  maybe_end();
}

void Stream::on_bad_request(uint16_t status, std::string_view detail) {
  cells().add(settings().stats.cx_protocol_error);
  if (status == 431) cells().add(settings().stats.rq_too_large);
  request_ended_ = true;
  info_.request_end_ns = worker().loop.now_ns();
  LocalReply reply{status, http::h1::reason_phrase(status), arena_.copy(detail)};
  if (status == 408) {
    reply.body = "request header timeout";
  } else {
    reply.flags = http::flag_bit(Flag::kDownstreamProtocolError);
  }
  local_reply(reply);
}

void Stream::on_reset(http::ResetReason reason, std::string_view detail) {
  if (ended_) return;
  sender_ = nullptr;
  cells().add(settings().stats.rq_rx_reset);
  info_.set(reason == http::ResetReason::kRemoteStream    ? Flag::kDownstreamRemoteReset
            : reason == http::ResetReason::kProtocolError ? Flag::kDownstreamProtocolError
                                                          : Flag::kDownstreamTermination);
  info_.details = arena_.copy(detail.empty() ? "downstream_remote_disconnect" : detail);
  end();
}

void Stream::await_head() {
  idle_ms_ = settings().stream_idle_timeout_ms;
  arm(idle_timer_, idle_ms_);
}

void Stream::connection_ended(std::string_view detail) {
  if (ended_) {
    unlink();
    return;
  }
  sender_ = nullptr;
  if (!response_ended_ || !request_ended_) {
    if (info_.details.empty() || !response_ended_) {
      if (detail == "downstream_local_disconnect") info_.set(Flag::kDownstreamTermination);
      info_.details = detail;
    }
  }
  end();
}

void Stream::on_writable() {
  if (ended_ || filters_done_) return;
  if (filter_count_ > 0) filters_[filter_count_ - 1]->on_response_writable();
}

void Stream::set_request_reading(bool on) {
  if (sender_ && !request_ended_) sender_->set_reading(on);
}

void Stream::on_timeout(std::string_view details, uint16_t status, Flag flag) {
  if (ended_) return;
  cells().add(flag == Flag::kStreamIdleTimeout ? settings().stats.rq_idle_timeout : settings().stats.rq_timeout);
  LocalReply reply{status, "request timeout", details};
  reply.close = status == 408;
  if (flag == Flag::kStreamIdleTimeout) {
    reply.status = request_ended_ ? 504 : 408;
    reply.close = !request_ended_;
    reply.body = "stream timeout";
    reply.flags = http::flag_bit(flag);
  } else if (flag == Flag::kDurationTimeout) {
    reply.body = "downstream duration timeout";  // ENVOY: without a flag
    reply.grpc_status = 4;                       // DEADLINE_EXCEEDED
  }
  local_reply(reply);
}

void Stream::request_done() {
  request_ended_ = true;
  info_.request_end_ns = worker().loop.now_ns();
  request_timer_.cancel();
}

void Stream::response_done() { response_ended_ = true; }

void Stream::maybe_end() {
  // A response that is complete ends the stream for h1 whatever is left of the request: the codec closes.
  if (response_ended_ && !ended_) {
    sender_ = nullptr;
    end();
  }
}

// The filters let go of what they hold. Their memory stays until the stream's: one of them may be our caller.
void Stream::destroy_filters() {
  if (filters_done_) return;
  filters_done_ = true;
  for (size_t i = 0; i < filter_count_; i++) filters_[i]->on_destroy();
}

}  // namespace pinnace::filters::hcm
