#include "proxy/upstream/pool/client_connection.h"

#include <sys/socket.h>

#include <cerrno>

#include "proxy/http/h2/client_codec.h"
#include "proxy/http/tunnel_codec.h"

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
  age_timer_.init(
      pool.loop_.timers(), [](void* self) { static_cast<ClientConnection*>(self)->on_old_age(); }, this);
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
  make_codec();
  if (pool_.config_->max_connection_duration_ms > 0) age_timer_.arm(pool_.config_->max_connection_duration_ms);
  pool_.connection_ready(*this);
}

void ClientConnection::make_codec() {
  auto& cells = pool_.loop_.cells();
  const auto& stats = pool_.config_->stats;
  auto& owner = static_cast<http::ClientCodec::Owner&>(*this);
  PoolProtocol protocol = pool_.key_.protocol;
  if (protocol == PoolProtocol::kAuto) {
    const net::TlsInfo* tls = connection_->tls();
    protocol = tls && tls->alpn == "h2" ? PoolProtocol::kHttp2 : PoolProtocol::kHttp1;
  }
  switch (protocol) {
    case PoolProtocol::kHttp2:
      cells.add(stats.cx_http2_total);
      codec_ = http::h2::make_client_codec(*connection_, owner, pool_.config_->http2, pool_.h1_, *pool_.h2_stats_);
      break;
    case PoolProtocol::kTcp: codec_ = std::make_unique<http::TunnelCodec>(*connection_, owner); break;
    default:
      cells.add(stats.cx_http1_total);
      codec_ = std::make_unique<http::h1::H1ClientCodec>(*connection_, owner, pool_.h1_);
  }
}

http::RequestSender& ClientConnection::new_stream(http::ResponseReceiver& receiver) {
  streams_started_++;
  uint64_t max = pool_.config_->max_requests_per_connection;
  if (max > 0 && streams_started_ >= max && !std::exchange(draining_, true)) {
    pool_.loop_.cells().add(pool_.config_->stats.cx_max_requests);
  }
  constexpr uint64_t kMostStreams = 1 << 29;  // of the 2^30 numbers that RFC 9113 5.1.1 has for a client
  if (streams_started_ >= kMostStreams) draining_ = true;
  idle_timer_.cancel();
  return codec_->new_stream(receiver);
}

bool ClientConnection::looks_alive() const {
  constexpr uint64_t kRecentMs = 500;
  if (!used() || busy() || pool_.loop_.now_ms() - idle_since_ms_ < kRecentMs) return true;
  char byte;
  ssize_t n = ::recv(connection_->fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
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
  idle_since_ms_ = pool_.loop_.now_ms();
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

// max_connection_duration: what runs here is let end.
void ClientConnection::on_old_age() {
  pool_.loop_.cells().add(pool_.config_->stats.cx_max_duration);
  on_draining();
}

void ClientConnection::close() {
  if (closed_) return;
  closed_ = true;
  idle_timer_.cancel();
  age_timer_.cancel();
  net::Connection::close(std::move(connection_));
}

}  // namespace pinnace::upstream
