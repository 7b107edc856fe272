// HcmSession: one downstream HTTP connection: its codec, its streams and its connection-level timers.
// THREAD, LIFETIME: see filter::Session.
#pragma once

#include "filters/network/http_connection_manager/config.h"

namespace pinnace::filters::hcm {

class Stream;

class HcmSession final : public filter::Session, private net::ConnectionCallbacks, private http::ServerCodec::Owner {
 public:
  HcmSession(const HcmConfig& config, filter::WorkerContext& worker, filter::Accepted&& accepted);
  ~HcmSession() override;

  void start() override;
  void drain(bool close_idle) override;
  void close() override;

  const Settings& settings() const { return config_.settings(); }
  filter::WorkerContext& worker() { return worker_; }
  const net::Connection& downstream() { return connection(); }
  // Of x-forwarded-client-cert; the same for all its requests. Empty: not made yet.
  std::string& client_cert() { return client_cert_; }
  stats::Cells& cells() { return worker_.loop.cells(); }
  // The stream is over in both directions; it is destroyed at the end of the turn.
  void stream_ended(Stream& stream);
  // Where the client really is, when XFF does not say otherwise.
  const base::Address& remote() { return connection().remote_address(); }
  const base::Address& local() const { return local_; }
  http::Protocol protocol() const { return codec_->protocol(); }

 private:
  void on_ready() override;
  void on_data(base::Bytes data) override;
  void on_eof() override;
  void on_writable() override;
  void on_close(net::CloseReason reason) override;

  http::RequestReceiver& new_stream(http::ResponseSender& sender) override;
  void on_partial_head() override;
  void on_codec_fault(std::string_view) override { cells().add(settings().stats.cx_protocol_error); }
  void on_codec_done() override;

  // False: not enough bytes yet to tell HTTP/1 from HTTP/2.
  bool choose_codec(base::Bytes first);
  void make_codec(bool h2);
  void on_timer();
  void on_max_duration();
  void on_drain_timeout();
  void count_resets(const Stream& stream);
  // `detail`: what the log says of streams that are cut.
  void end(bool flush, std::string_view detail = "downstream_local_disconnect");

  const HcmConfig& config_;  // pinned by the chain
  filter::WorkerContext& worker_;
  base::Address local_;
  std::unique_ptr<http::ServerCodec> codec_;
  base::IntrusiveList<Stream> streams_;
  std::string client_cert_;
  std::string undecided_;  // the beginning of HTTP/2's preface, before there is a codec
  base::Timer timer_;      // idle or head
  base::Timer duration_timer_, drain_timer_;
  enum class TimerUse : uint8_t { kIdle, kHead } timer_use_ = TimerUse::kIdle;
  uint64_t requests_ = 0;
  uint64_t ended_streams_ = 0, premature_resets_ = 0;
  bool draining_ = false;
  bool ended_ = false;
};

}  // namespace pinnace::filters::hcm
