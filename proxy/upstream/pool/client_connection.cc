#include "proxy/upstream/pool/client_connection.h"

#include "proxy/http/h2/client_codec.h"

namespace pinnace::upstream {

ClientConnection::ClientConnection(HttpPool& pool, std::unique_ptr<net::Connection> connection)
    : pool_(pool),
      connection_(std::move(connection)),
      bytes_{pool.config_->stats.cx_rx_bytes, pool.config_->stats.cx_tx_bytes},
      started_ms_(pool.loop_.now_ms()) {
  connection_->set_callbacks(*this);
  connection_->set_byte_stats(&bytes_);
  idle_timer_.init(
      pool.loop_.timers(), [](void* self) { static_cast<ClientConnection*>(self)->on_idle_timeout(); }, this);
}

ClientConnection::~ClientConnection() { net::Connection::close(std::move(connection_)); }

void ClientConnection::on_ready() {
  auto& cells = pool_.loop_.cells();
  const auto& stats = pool_.config_->stats;
  cells.record(stats.cx_connect_ms, pool_.loop_.now_ms() - started_ms_);
  if (const net::TlsInfo* tls = connection_->tls()) {
    cells.add(stats.ssl_handshake);
    if (tls->resumed) cells.add(stats.ssl_session_reused);
  }
  if (pool_.key_.protocol == http::Protocol::kHttp2) {
    cells.add(stats.cx_http2_total);
    codec_ = http::h2::make_client_codec(*connection_, *this, pool_.config_->http2);
  } else {
    cells.add(stats.cx_http1_total);
    codec_ = std::make_unique<http::h1::H1ClientCodec>(*connection_, static_cast<http::ClientCodec::Owner&>(*this),
                                                       pool_.h1_);
  }
  pool_.connection_ready(*this);
}

http::RequestSender& ClientConnection::new_stream(http::ResponseReceiver& receiver) {
  streams_started_++;
  uint64_t max = pool_.config_->max_requests_per_connection;
  if (max > 0 && streams_started_ >= max) draining_ = true;
  idle_timer_.cancel();
  return codec_->new_stream(receiver);
}

void ClientConnection::on_eof() {
  if (closed_) return;
  draining_ = true;
  if (codec_) codec_->receive_eof();
  if (!closed_) pool_.remove(*this);
}

void ClientConnection::on_close(net::CloseReason reason) {
  if (closed_) return;
  draining_ = true;
  std::string detail = connection_->failure_text();
  if (!codec_) {
    auto why = reason == net::CloseReason::kConnectTimeout || reason == net::CloseReason::kHandshakeTimeout
                   ? http::ResetReason::kConnectTimeout
               : reason == net::CloseReason::kTlsFailed ? http::ResetReason::kTlsFailed
                                                        : http::ResetReason::kConnectFailed;
    return pool_.connection_failed(*this, why, detail);
  }
  codec_->connection_lost(http::ResetReason::kPeerReset, detail);
  if (!closed_) pool_.remove(*this);
}

void ClientConnection::on_stream_end(bool reusable) {
  if (closed_) return;
  pool_.stream_ended(*this, reusable);
  if (!closed_ && !busy() && pool_.config_->idle_timeout_ms > 0) idle_timer_.arm(pool_.config_->idle_timeout_ms);
}

void ClientConnection::on_draining() {
  draining_ = true;
  if (!closed_ && !busy()) pool_.remove(*this);
}

void ClientConnection::on_idle_timeout() {
  if (busy()) return;
  pool_.loop_.cells().add(pool_.config_->stats.cx_idle_timeout);
  pool_.remove(*this);
}

void ClientConnection::close() {
  if (closed_) return;
  closed_ = true;
  idle_timer_.cancel();
  net::Connection::close(std::move(connection_));
}

}  // namespace pinnace::upstream
