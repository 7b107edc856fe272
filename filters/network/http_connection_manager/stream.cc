#include "filters/network/http_connection_manager/stream.h"

#include <charconv>

#include "filters/network/http_connection_manager/connection.h"
#include "filters/network/http_connection_manager/request_headers.h"
#include "proxy/http/h1/encoder.h"
#include "proxy/http/mutations.h"
#include "proxy/route/match.h"

namespace pinnace::filters::hcm {

using filter::LocalReply;
using http::Flag;
using http::HeaderId;

namespace {

struct FreeList {
  void* head = nullptr;
  size_t count = 0;
  ~FreeList() {
    while (head) {
      void* next = *static_cast<void**>(head);
      ::operator delete(head);
      head = next;
    }
  }
};
thread_local FreeList free_streams;

constexpr size_t kMaxFreeStreams = 1024;

bool is_grpc(const http::RequestHead& request) {
  std::string_view type = request.headers.get(HeaderId::kContentType);
  return type.substr(0, 16) == "application/grpc" && (type.size() == 16 || type[16] == '+');
}

// grpc-message, "Percent-Byte" of the gRPC over HTTP/2 specification.
std::string_view percent_encoded(std::string_view text, base::Arena& arena) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  char* out = arena.take_chars(text.size() * 3);
  size_t n = 0;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '%') {
      out[n++] = c;
    } else {
      out[n++] = '%';
      out[n++] = kHex[byte >> 4];
      out[n++] = kHex[byte & 15];
    }
  }
  return {out, n};
}

}  // namespace

void* Stream::operator new(size_t size) {
  if (!free_streams.head) return ::operator new(size);
  void* memory = free_streams.head;
  free_streams.head = *static_cast<void**>(memory);
  free_streams.count--;
  return memory;
}

void Stream::operator delete(void* memory) {
  if (free_streams.count >= kMaxFreeStreams) return ::operator delete(memory);
  *static_cast<void**>(memory) = free_streams.head;
  free_streams.head = memory;
  free_streams.count++;
}

Stream::Stream(HcmSession& session, http::ResponseSender& sender)
    : session_(session),
      sender_(&sender),
      arena_(session.worker().loop.blocks()),
      request_(arena_),
      held_(session.worker().loop.blocks()) {
  base::EventLoop& loop = session.worker().loop;
  info_.start_wall_ns = loop.wall_ns();
  info_.start_ns = loop.now_ns();
  info_.local_address = &session.local();
  info_.direct_remote_address = &session.remote();
  info_.remote_address = session.remote();
  info_.tls = session.downstream().tls();
  info_.requested_server_name = session.accepted().server_name;
  info_.protocol = http::protocol_name(session.protocol());
  idle_timer_.init(
      loop.timers(),
      [](void* self) { static_cast<Stream*>(self)->on_timeout("stream_idle_timeout", 408, Flag::kStreamIdleTimeout); },
      this);
  deadline_timer_.init(
      loop.timers(),
      [](void* self) {
        auto* stream = static_cast<Stream*>(self);
        if (!stream->request_ended_ && stream->settings().request_timeout_ms > 0) {
          stream->on_timeout("request_overall_timeout", 408, Flag::kDownstreamProtocolError);
        } else {
          stream->on_timeout("max_duration_timeout", 504, Flag::kDurationTimeout);
        }
      },
      this);
  stats::Cells& cells = session.cells();
  cells.add(settings().stats.rq_total);
  cells.inc(settings().stats.rq_active);
  cells.add(session.protocol() == http::Protocol::kHttp2 ? settings().stats.rq_http2_total
                                                         : settings().stats.rq_http1_total);
}

Stream::~Stream() {
  destroy_filters();
  for (size_t i = 0; i < filter_count_; i++) filters_[i]->~HttpFilter();
}

const Settings& Stream::settings() const { return session_.settings(); }
filter::WorkerContext& Stream::worker() { return session_.worker(); }
const net::Connection& Stream::downstream() { return session_.downstream(); }
const base::Address& Stream::destination() { return session_.local(); }
uint32_t Stream::buffer_limit() { return session_.accepted().listener->buffer_limit; }

http::HeaderMap& Stream::request_trailers() {
  if (!trailers_)
    trailers_ = new (arena_.take(sizeof(http::HeaderMap), alignof(http::HeaderMap))) http::HeaderMap(arena_);
  return *trailers_;
}

void Stream::on_request(bool end_stream) {
  head_seen_ = true;
  if (end_stream) request_done();
  idle_ms_ = settings().stream_idle_timeout_ms;
  if (idle_ms_ > 0) idle_timer_.arm(idle_ms_);
  info_.protocol = http::protocol_name(request_.protocol);
  if (!end_stream && settings().request_timeout_ms > 0) deadline_timer_.arm(settings().request_timeout_ms);
  else if (settings().max_stream_ms > 0) deadline_timer_.arm(settings().max_stream_ms);
  if (!accept_request()) return;
  if (!resolve_route() || answer_without_upstream()) return;
  start_filters(end_stream);
}

// What makes a request unfit for routing, and the one normalisation of its path and headers.
bool Stream::accept_request() {
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
  // ENVOY: Upgrade without Connection: upgrade is just a hop-by-hop field.
  std::string_view connection;
  bool upgrade = request_.headers.has(HeaderId::kUpgrade) &&
                 request_.headers.joined(HeaderId::kConnection, arena_, connection) &&
                 http::contains_token(connection, "upgrade");
  if (upgrade) {
    bool h2c = http::contains_token(request_.headers.get(HeaderId::kUpgrade), "h2c");
    if (!h2c) {  // ENVOY: h2c is ignored; other upgrades need upgrade_configs, which a later issue brings
      refuse({403, "", "upgrade_failed"});
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
  mutate_request(request_, settings(), session_.downstream(), worker().loop.rng(), info_.remote_address);
  if (expects_continue && !settings().proxy_100_continue) {
    http::ResponseHead head(arena_);
    head.status = 100;
    if (sender_) sender_->send_informational(head);
  }
  return true;
}

void Stream::refuse(LocalReply reply) {
  reply.close = true;
  local_reply(reply);
}

bool Stream::resolve_route() {
  const Settings& s = settings();
  const model::RouteConfig* config;
  if (s.inline_routes) {
    config = s.inline_routes.get();  // pinned by the chain
  } else {
    routes_ = worker().routes.find(s.rds_id);
    config = routes_.get();
  }
  route::Decision decision;
  // ENVOY: CONNECT needs a connect_matcher, which no route here has.
  if (config && request_.method != "CONNECT")
    decision = route::match(*config, request_, arena_, worker().loop.rng().next());
  route_ = decision.route;
  if (decision.virtual_host && decision.virtual_host->require_tls != model::VirtualHost::RequireTls::kNone &&
      request_.headers.get(HeaderId::kForwardedProto) != "https") {
    char* text = arena_.take_chars(request_.authority.size() + request_.path.size() + 8);
    std::memcpy(text, "https://", 8);
    std::memcpy(text + 8, request_.authority.data(), request_.authority.size());
    std::memcpy(text + 8 + request_.authority.size(), request_.path.data(), request_.path.size());
    session_.cells().add(s.stats.rq_redirect);
    local_reply(
        {301, "", "direct_response", 0, "location", {text, 8 + request_.authority.size() + request_.path.size()}});
    return false;
  }
  if (!route_) {
    session_.cells().add(s.stats.no_route);
    LocalReply reply{404, "", "route_not_found", http::flag_bit(Flag::kNoRouteFound)};
    reply.close = request_.method == "CONNECT";
    local_reply(reply);
    return false;
  }
  info_.route_name = route_->name;
  if (route_->action && route_->action->idle_timeout_ms) {
    idle_ms_ = *route_->action->idle_timeout_ms;
    if (idle_ms_ > 0) idle_timer_.arm(idle_ms_);
    else idle_timer_.cancel();
  }
  return true;
}

bool Stream::answer_without_upstream() {
  if (route_->direct) {
    session_.cells().add(settings().stats.rq_direct_response);
    local_reply({route_->direct->status, route_->direct->body, "direct_response"});
    return true;
  }
  if (route_->redirect) {
    const model::RedirectAction& to = *route_->redirect;
    std::string_view scheme = to.https ? std::string_view("https") : !to.scheme.empty() ? to.scheme : request_.scheme;
    std::string_view host = to.host.empty() ? request_.authority : to.host;
    std::string path(request_.path);
    size_t query = path.find('?');
    if (!to.path.empty()) {
      std::string rest = to.strip_query || query == std::string::npos || to.path.find('?') != std::string::npos
                             ? ""
                             : path.substr(query);
      path = to.path + rest;
    } else {
      if (to.strip_query && query != std::string::npos) path.resize(query);
      if (to.has_prefix_rewrite) path = to.prefix_rewrite + path.substr(route_->match.path.text.size());
    }
    std::string url = std::string(scheme) + "://";
    size_t colon = host.rfind(':');
    bool has_port = colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos;
    // ENVOY: a port goes when it was the old scheme's default or a new port is given.
    if (has_port && (to.port != 0 || (scheme == "https" && host.substr(colon) == ":80") ||
                     (scheme == "http" && host.substr(colon) == ":443"))) {
      host = host.substr(0, colon);
    }
    url += host;
    if (to.port != 0) url += ":" + std::to_string(to.port);
    url += path;
    session_.cells().add(settings().stats.rq_redirect);
    local_reply({to.code, "", "direct_response", 0, "location", arena_.copy(url)});
    return true;
  }
  return false;
}

void Stream::start_filters(bool end_stream) {
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
    for (size_t i = 0; i < filter_count_ && !ended_ && !filters_done_; i++)
      filters_[i]->on_request_data(part, end && left == 0);
  });
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
  for (size_t i = 0; i < filter_count_ && !ended_ && !filters_done_; i++)
    filters_[i]->on_request_data(data, end_stream);
  maybe_end();
}

void Stream::on_trailers(http::HeaderMap& trailers) {
  if (ended_) return;
  request_done();
  for (size_t i = 0; i < filter_count_ && !ended_ && !filters_done_; i++) filters_[i]->on_request_trailers(trailers);
  maybe_end();
}

void Stream::on_bad_request(uint16_t status, std::string_view detail) {
  session_.cells().add(settings().stats.cx_protocol_error);
  if (status == 431) session_.cells().add(settings().stats.rq_too_large);
  request_ended_ = true;
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
  session_.cells().add(settings().stats.rq_rx_reset);
  info_.set(reason == http::ResetReason::kRemoteStream ? Flag::kDownstreamRemoteReset : Flag::kDownstreamTermination);
  info_.details = arena_.copy(detail.empty() ? "downstream_remote_disconnect" : detail);
  end();
}

void Stream::connection_ended() {
  if (ended_) {
    unlink();
    return;
  }
  sender_ = nullptr;
  if (!response_ended_ || !request_ended_) {
    if (info_.details.empty() || !response_ended_) {
      info_.set(Flag::kDownstreamTermination);
      info_.details = "downstream_local_disconnect";
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
  session_.cells().add(flag == Flag::kStreamIdleTimeout ? settings().stats.rq_idle_timeout
                                                        : settings().stats.rq_timeout);
  LocalReply reply{status, "request timeout", details};
  reply.close = status == 408;
  if (flag == Flag::kStreamIdleTimeout) {
    reply.status = request_ended_ ? 504 : 408;
    reply.close = !request_ended_;
    reply.body = "stream timeout";
    reply.flags = http::flag_bit(flag);
  } else if (flag == Flag::kDurationTimeout) {
    reply.body = "downstream duration timeout";  // ENVOY: without a flag
  }
  local_reply(reply);
}

void Stream::local_reply(const LocalReply& reply) {
  if (ended_) return;
  for (unsigned i = 0; i < static_cast<unsigned>(Flag::kCount); i++) {
    if (reply.flags & http::flag_bit(static_cast<Flag>(i))) info_.set(static_cast<Flag>(i));
  }
  info_.details = reply.details;
  if (reply.close) close_connection_ = true;
  destroy_filters();
  if (response_started_) {  // too late for another answer
    http::ResponseSender* sender = std::exchange(sender_, nullptr);
    session_.cells().add(settings().stats.rq_tx_reset);
    end();
    if (sender) sender->reset(http::ResetReason::kLocal);
    return;
  }
  auto* head = new (arena_.take(sizeof(http::ResponseHead), alignof(http::ResponseHead))) http::ResponseHead(arena_);
  if (head_seen_ && is_grpc(request_)) return grpc_reply(*head, reply);
  head->status = reply.status;
  if (!reply.extra_name.empty()) head->headers.add(reply.extra_name, reply.extra_value);
  if (!reply.body.empty()) {
    char* digits = arena_.take_chars(20);
    auto last = std::to_chars(digits, digits + 20, reply.body.size()).ptr;
    head->headers.add(HeaderId::kContentLength, {digits, static_cast<size_t>(last - digits)});
    head->headers.add(HeaderId::kContentType, "text/plain");
  }
  bool with_body = !reply.body.empty() && request_.method != "HEAD";
  std::string_view body = reply.body;
  send_response(*head, !with_body);
  if (with_body && !ended_) {
    send_response_data({reinterpret_cast<const uint8_t*>(body.data()), body.size()}, true);
  }
}

// ENVOY: gRPC clients get a trailers-only answer: HTTP 200 with a gRPC status for the HTTP one.
void Stream::grpc_reply(http::ResponseHead& head, const LocalReply& reply) {
  std::string_view status = "2";
  switch (reply.status) {
    case 400: status = "13"; break;
    case 401: status = "16"; break;
    case 403: status = "7"; break;
    case 404: status = "12"; break;
    case 429:
    case 502:
    case 503:
    case 504: status = "14"; break;
    default: break;
  }
  head.status = 200;
  head.headers.add(HeaderId::kContentType, "application/grpc");
  head.headers.add(HeaderId::kGrpcStatus, status);
  if (!reply.body.empty()) head.headers.add(HeaderId::kGrpcMessage, percent_encoded(reply.body, arena_));
  send_response(head, true);
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
  if (!filters_done_) {
    for (size_t i = filter_count_; i-- > 0;) filters_[i]->on_response_head(head, end_stream);
  }
  if (route_) {
    http::apply(route_->response_headers, head.headers);
    http::apply(route_->virtual_host->response_headers, head.headers);
    const model::RouteConfig* config = settings().inline_routes ? settings().inline_routes.get() : routes_.get();
    if (config) http::apply(config->response_headers, head.headers);
  }
  mutate_response(head, settings(), request_, worker().loop.wall_ns());
  if (close_connection_) head.headers.add(HeaderId::kConnection, "close");  // the codec's word; h2 leaves it out
  http::ResponseSender* sender = sender_;
  if (end_stream) response_done();
  sender->send_response(head, end_stream);
  if (end_stream) maybe_end();
}

void Stream::send_response_data(http::Bytes data, bool end_stream) {
  if (ended_ || !sender_) return;
  touch();
  info_.bytes_sent += data.size();
  if (!filters_done_) {
    for (size_t i = filter_count_; i-- > 0;) filters_[i]->on_response_data(data, end_stream);
  }
  http::ResponseSender* sender = sender_;
  if (end_stream) response_done();
  sender->send_data(data, end_stream);
  if (end_stream) maybe_end();
}

void Stream::send_response_trailers(http::HeaderMap& trailers) {
  if (ended_ || !sender_) return;
  if (!filters_done_) {
    for (size_t i = filter_count_; i-- > 0;) filters_[i]->on_response_trailers(trailers);
  }
  http::ResponseSender* sender = sender_;
  response_done();
  sender->send_trailers(trailers);
  maybe_end();
}

void Stream::request_done() {
  request_ended_ = true;
  if (deadline_timer_.armed() && settings().request_timeout_ms > 0) {
    if (settings().max_stream_ms > 0) {
      deadline_timer_.arm(settings().max_stream_ms);
    } else {
      deadline_timer_.cancel();
    }
  }
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

void Stream::end() {
  ended_ = true;
  idle_timer_.cancel();
  deadline_timer_.cancel();
  destroy_filters();
  const HcmStats& stats = settings().stats;
  stats::Cells& cells = session_.cells();
  base::EventLoop& loop = worker().loop;
  info_.end_ns = loop.now_ns();
  cells.dec(stats.rq_active);
  if (response_started_) {
    cells.add(stats.rq_completed);
    cells.add(stats.rq_code_class[std::min<size_t>(info_.response_code / 100, 5)]);
    cells.record(stats.rq_time, (info_.end_ns - info_.start_ns) / 1000000);
  }
  access_log::Entry entry{info_, head_seen_ ? &request_ : nullptr, response_, false};
  for (const auto& logger : settings().access_logs) logger->log(entry, worker().logs);
  session_.stream_ended(*this);
}

}  // namespace pinnace::filters::hcm
