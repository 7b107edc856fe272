#include "filters/network/http_connection_manager/connection.h"

#include "filters/network/http_connection_manager/stream.h"
#include "proxy/http/h2/server_codec.h"

namespace pinnace::filters::hcm {

std::unique_ptr<filter::Session> HcmConfig::create(filter::WorkerContext& worker, filter::Accepted&& accepted) const {
  return std::make_unique<HcmSession>(*this, worker, std::move(accepted));
}

HcmSession::HcmSession(const HcmConfig& config, filter::WorkerContext& worker, filter::Accepted&& accepted)
    : Session(std::move(accepted)), config_(config), worker_(worker) {
  local_ = accepted_.original_destination.kind() != base::Address::Kind::kNone ? accepted_.original_destination
                                                                               : connection().local_address();
  timer_.init(
      worker.loop.timers(), [](void* self) { static_cast<HcmSession*>(self)->on_timer(); }, this);
  duration_timer_.init(
      worker.loop.timers(), [](void* self) { static_cast<HcmSession*>(self)->on_max_duration(); }, this);
  drain_timer_.init(
      worker.loop.timers(), [](void* self) { static_cast<HcmSession*>(self)->on_drain_timeout(); }, this);
  connection().set_callbacks(*this);
  connection().set_byte_stats(&config.bytes());
  cells().add(settings().stats.cx_total);
  cells().inc(settings().stats.cx_active);
}

HcmSession::~HcmSession() {
  cells().dec(settings().stats.cx_active);
  cells().add(settings().stats.cx_destroy);
  while (Stream* stream = streams_.pop_front()) delete stream;
  net::Connection::close(std::move(accepted_.connection));
}

void HcmSession::start() { connection().start(chain().handshake_timeout_ms); }

void HcmSession::on_ready() {
  if (connection().tls()) cells().add(settings().stats.cx_ssl_total);
  note_tls_ready(cells());
  timer_use_ = TimerUse::kIdle;
  if (settings().idle_timeout_ms > 0) timer_.arm(settings().idle_timeout_ms);
  if (settings().max_connection_ms > 0) duration_timer_.arm(settings().max_connection_ms);
}

// AUTO: ALPN says which codec, else the first bytes do. What may still become either is kept.
bool HcmSession::choose_codec(base::Bytes first) {
  static constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n";
  if (settings().codec != CodecType::kAuto) {
    make_codec(settings().codec == CodecType::kHttp2);
    return true;
  }
  const net::TlsInfo* tls = connection().tls();
  if (tls && !tls->alpn.empty()) {
    make_codec(tls->alpn == "h2");
    return true;
  }
  std::string_view text{reinterpret_cast<const char*>(first.data()), first.size()};
  std::string_view wanted = kPreface.substr(undecided_.size());
  text = text.substr(0, wanted.size());
  bool h2 = wanted.starts_with(text);
  if (h2 && text.size() < wanted.size()) {
    undecided_ += text;
    on_partial_head();
    return false;
  }
  make_codec(h2);
  return true;
}

void HcmSession::make_codec(bool h2) {
  if (h2) {
    cells().add(settings().stats.cx_http2_total);
    codec_ = http::h2::make_server_codec(connection(), *this, settings().h2, settings().h1, settings().h2_stats);
  } else {
    cells().add(settings().stats.cx_http1_total);
    codec_ = std::make_unique<http::h1::H1ServerCodec>(connection(), static_cast<http::ServerCodec::Owner&>(*this),
                                                       settings().h1);
  }
  if (draining_) codec_->start_drain();
  if (!undecided_.empty()) codec_->receive({reinterpret_cast<const uint8_t*>(undecided_.data()), undecided_.size()});
}

void HcmSession::on_data(base::Bytes data) {
  if (ended_) return;
  if (!codec_ && !choose_codec(data)) return;
  if (!ended_) codec_->receive(data);
}

void HcmSession::on_eof() {
  if (ended_) return;
  if (!codec_) return end(false);
  codec_->receive_eof();
}

void HcmSession::on_writable() {
  if (codec_ && !ended_) codec_->connection_writable();
}

void HcmSession::on_close(net::CloseReason reason) {
  if (ended_) return;
  note_tls_failure(reason, cells());
  cells().add(settings().stats.cx_destroy_remote);
  if (codec_) codec_->connection_lost("downstream_remote_disconnect");
  if (!ended_) end(false);
}

http::RequestReceiver& HcmSession::new_stream(http::ResponseSender& sender) {
  timer_.cancel();
  requests_++;
  if (settings().max_requests_per_connection > 0 && requests_ >= settings().max_requests_per_connection) drain(false);
  auto* stream = new Stream(*this, sender);
  streams_.push_back(*stream);
  if (protocol() == http::Protocol::kHttp2) stream->await_head();
  return *stream;
}

void HcmSession::stream_ended(Stream& stream) {
  stream.unlink();
  worker_.loop.destroy_later(std::unique_ptr<base::Deferred>(&stream));
  if (ended_) return;
  if (protocol() == http::Protocol::kHttp2) count_resets(stream);
  if (ended_ || !streams_.empty()) return;
  timer_use_ = TimerUse::kIdle;
  if (settings().idle_timeout_ms > 0) timer_.arm(settings().idle_timeout_ms);
}

// ENVOY: half of a limit of streams reset at once can no longer become the minority.
void HcmSession::count_resets(const Stream& stream) {
  ended_streams_++;
  if (!stream.premature()) return;
  premature_resets_++;
  uint64_t of = std::max(ended_streams_, settings().premature_resets);
  if (premature_resets_ * 2 < of) return;
  cells().add(settings().stats.rq_too_many_premature_resets);
  end(false, "too_many_premature_resets");
}

void HcmSession::on_partial_head() {
  if (settings().request_headers_timeout_ms == 0 || timer_use_ == TimerUse::kHead) return;
  timer_use_ = TimerUse::kHead;
  timer_.arm(settings().request_headers_timeout_ms);
}

void HcmSession::on_timer() {
  if (ended_) return;
  if (timer_use_ == TimerUse::kHead) {
    if (!codec_) make_codec(false);
    if (ended_) return;
    timer_use_ = TimerUse::kIdle;
    cells().add(settings().stats.rq_header_timeout);
    return codec_->reject_partial_head(408, "request_header_timeout");
  }
  if (!streams_.empty()) return;
  cells().add(settings().stats.cx_idle_timeout);
  end(true);
}

void HcmSession::on_max_duration() {
  if (ended_) return;
  cells().add(settings().stats.cx_max_duration_reached);
  if (requests_ == 0) return end(true);
  drain(false);
}

void HcmSession::on_codec_done() { end(true); }

void HcmSession::drain(bool close_idle) {
  if (ended_) return;
  if (close_idle && streams_.empty()) {
    if (codec_) codec_->finish_drain();
    return end(true);
  }
  if (draining_) return;
  draining_ = true;
  // ENVOY: h2 gets its last GOAWAY, and an idle h1 connection its end, after drain_timeout; a busy h1 connection ends
  // with the response that says "connection: close".
  drain_timer_.arm(settings().drain_timeout_ms);
  if (codec_) codec_->start_drain();
}

void HcmSession::on_drain_timeout() {
  if (ended_) return;
  if (codec_) codec_->finish_drain();
  if (!ended_ && streams_.empty()) end(true);
}

void HcmSession::close() { end(false); }

void HcmSession::end(bool flush, std::string_view detail) {
  if (ended_) return;
  ended_ = true;
  timer_.cancel();
  duration_timer_.cancel();
  drain_timer_.cancel();
  while (!streams_.empty()) streams_.front().connection_ended(detail);
  if (codec_) codec_->abandon();
  if (flush) {
    net::Connection::close_after_flush(std::move(accepted_.connection), settings().delayed_close_ms);
  } else {
    net::Connection::close(std::move(accepted_.connection));
  }
  accepted_.owner->session_ended(*this);
}

}  // namespace pinnace::filters::hcm
