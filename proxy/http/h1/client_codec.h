// ClientCodec for HTTP/1.1: one request at a time on a kept-alive connection, never pipelined.
// THREAD, LIFETIME: see http/codec.h.
#pragma once

#include <string>

#include "proxy/http/codec.h"
#include "proxy/http/h1/body_reader.h"
#include "proxy/model/http1.h"
#include "proxy/net/connection.h"

namespace pinnace::http::h1 {

struct ClientSettings {
  uint32_t max_head_bytes = 60 * 1024;  // max_response_headers_kb
  HeadLimits limits;
  model::Http1Options options;
};

class H1ClientCodec final : public ClientCodec, private RequestSender {
 public:
  H1ClientCodec(net::Connection& connection, Owner& owner, const ClientSettings& settings)
      : connection_(connection), owner_(owner), settings_(settings) {}

  Protocol protocol() const override { return Protocol::kHttp11; }
  RequestSender& new_stream(ResponseReceiver& receiver) override;
  uint32_t max_streams() const override { return 1; }
  uint32_t streams() const override { return receiver_ ? 1 : 0; }
  void receive(Bytes data) override;
  void receive_eof() override;
  void connection_lost(ResetReason reason, std::string_view detail) override;
  void connection_writable() override {
    if (receiver_) receiver_->on_writable();
  }

 private:
  enum class State : uint8_t { kIdle, kHead, kBody, kTunnel, kBroken };

  void send_request(const RequestHead& head, bool end_stream) override;
  void send_data(Bytes data, bool end_stream) override;
  void send_trailers(const HeaderMap& trailers) override;
  void reset(ResetReason reason) override;
  bool blocked() const override { return connection_.write_blocked(); }
  void set_reading(bool on) override { connection_.set_reading(on); }

  bool take_head(Bytes& in);
  bool begin(std::string_view head);
  bool take_body(Bytes& in);
  void request_sent() { request_done_ = true; }
  void response_ended();
  void broken(ResetReason reason, std::string_view detail);

  net::Connection& connection_;
  Owner& owner_;
  const ClientSettings& settings_;
  ResponseReceiver* receiver_ = nullptr;
  BodyReader body_;
  std::string partial_;
  size_t scanned_ = 0;
  State state_ = State::kIdle;
  bool chunked_ = false;  // this request's body
  bool request_done_ = false;
  bool head_request_ = false;
  bool tunnel_wanted_ = false, upgrade_wanted_ = false;
  bool keep_alive_ = true;
  bool extra_ = false;  // input goes on after the current part
};

}  // namespace pinnace::http::h1
