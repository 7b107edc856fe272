// ServerCodec for HTTP/1.1: one request at a time; pipelined ones wait until the response before them is sent.
// THREAD, LIFETIME: see http/codec.h.
#pragma once

#include <string>

#include "proxy/http/codec.h"
#include "proxy/http/h1/body_reader.h"
#include "proxy/model/http1.h"
#include "proxy/net/connection.h"

namespace pinnace::http::h1 {

struct ServerSettings {
  uint32_t max_head_bytes = 60 * 1024;  // max_request_headers_kb
  HeadLimits limits;                    // common_http_protocol_options.max_headers_count
  model::Http1Options options;
};

class H1ServerCodec final : public ServerCodec, private ResponseSender, private base::TurnTask {
 public:
  H1ServerCodec(net::Connection& connection, Owner& owner, const ServerSettings& settings);

  Protocol protocol() const override { return Protocol::kHttp11; }
  void receive(Bytes data) override;
  void receive_eof() override;
  void connection_lost(std::string_view detail) override;
  void connection_writable() override;
  void start_drain() override { draining_ = true; }
  bool idle() const override { return state_ == State::kHead && partial_.empty() && pending_.empty(); }
  void abandon() override {
    receiver_ = nullptr;
    state_ = State::kClosing;
  }
  void reject_partial_head(uint16_t status, std::string_view detail) override;

 private:
  // Others get their turn after so many pipelined requests, and the memory of these is given back.
  static constexpr uint32_t kMostAtOnce = 16;

  enum class State : uint8_t {
    kHead,
    kBody,
    kWaiting,     // for the response; what comes is the next request
    kTunnelWait,  // for the response that opens the tunnel; nothing may come
    kTunnel,      // bytes, both ways
    kClosing,
  };

  void send_informational(const ResponseHead& head) override;
  void send_response(const ResponseHead& head, bool end_stream) override;
  void send_data(Bytes data, bool end_stream) override;
  void send_trailers(const HeaderMap& trailers) override;
  void reset(ResetReason reason) override;
  bool blocked() const override { return connection_.write_blocked(); }
  void set_reading(bool on) override;
  void run_turn_task() override { consume_pending(); }

  size_t consume(Bytes data);
  bool take_head(Bytes& in);
  // `more`: input goes on after the head.
  void begin(std::string_view head, bool more);
  void refuse_early_data();
  bool take_body(Bytes& in);
  void refuse(uint16_t status, std::string_view detail);
  void request_ended();
  void response_ended();
  void consume_pending();
  void update_reading();
  void go_on_later();

  net::Connection& connection_;
  Owner& owner_;
  const ServerSettings& settings_;
  RequestReceiver* receiver_ = nullptr;
  BodyReader body_;
  std::string partial_;  // a head that came in pieces
  size_t scanned_ = 0;   // of partial_
  base::Chain pending_;  // pipelined bytes
  uint32_t begun_ = 0;   // requests of this call of consume()
  State state_ = State::kHead;
  bool stream_reading_ = true;
  bool draining_ = false;
  bool close_ = false;    // after this response
  bool chunked_ = false;  // this response's body
  bool response_started_ = false;
  bool head_request_ = false;
  bool http10_ = false;
  std::string_view upgrade_;  // of the request; the stream's arena
};

}  // namespace pinnace::http::h1
