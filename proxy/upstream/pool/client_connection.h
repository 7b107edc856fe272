// ClientConnection: one pooled upstream connection: socket, transport and client codec.
// THREAD, LIFETIME: its pool's.
#pragma once

#include "proxy/upstream/pool/http_pool.h"

namespace pinnace::upstream {

class ClientConnection final : public base::Deferred,
                               private net::ConnectionCallbacks,
                               private http::ClientCodec::Owner {
 public:
  ClientConnection(HttpPool& pool, std::unique_ptr<net::Connection> connection);
  ~ClientConnection() override;

  bool ready() const { return codec_ != nullptr; }
  bool can_take_stream() const { return codec_ && !draining_ && codec_->streams() < codec_->max_streams(); }
  bool multiplexed() const { return codec_ && codec_->protocol() == http::Protocol::kHttp2; }
  bool used() const { return streams_started_ > 0; }
  // False when an idle connection's peer has closed it and we have not heard of it yet: one system call, and only where
  // it was idle for some time.
  bool looks_alive() const;
  bool busy() const { return codec_ && codec_->streams() > 0; }
  http::RequestSender& new_stream(http::ResponseReceiver& receiver);
  const net::Connection& connection() const { return *connection_; }
  void drain() { draining_ = true; }
  // Closes the socket; the pool has forgotten it.
  void close();

 private:
  void on_ready() override;
  void on_data(base::Bytes data) override { codec_->receive(data); }
  void on_eof() override;
  void on_writable() override { codec_->connection_writable(); }
  void on_close(net::CloseReason reason) override;
  void on_stream_end(bool reusable) override;
  void on_draining() override;
  void on_capacity() override { pool_.capacity_changed(*this); }
  void make_codec();
  void on_idle_timeout();
  void on_old_age();

  HttpPool& pool_;
  std::unique_ptr<net::Connection> connection_;
  std::unique_ptr<http::ClientCodec> codec_;
  base::Timer idle_timer_, age_timer_;
  net::ByteStats bytes_;
  uint64_t started_ms_;
  uint64_t streams_started_ = 0;
  uint64_t idle_since_ms_ = 0;
  bool draining_ = false;
  bool closed_ = false;
};

}  // namespace pinnace::upstream
