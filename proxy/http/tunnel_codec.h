// TunnelCodec: the upstream end of a CONNECT that ends here (connect_config): no HTTP on the connection, just the bytes
// of the tunnel. Answers the request itself: 200 as soon as it is sent, for the connection is there. One stream a
// connection. THREAD, LIFETIME: see http/codec.h.
#pragma once

#include "proxy/http/codec.h"
#include "proxy/net/connection.h"

namespace pinnace::http {

class TunnelCodec final : public ClientCodec, private RequestSender {
 public:
  TunnelCodec(net::Connection& connection, Owner& owner) : connection_(connection), owner_(owner) {}

  Protocol protocol() const override { return Protocol::kHttp11; }
  RequestSender& new_stream(ResponseReceiver& receiver) override {
    receiver_ = &receiver;
    return *this;
  }
  uint32_t max_streams() const override { return 1; }
  uint32_t streams() const override { return receiver_ ? 1 : 0; }
  void receive(Bytes data) override {
    if (receiver_) receiver_->on_data(data, false);
  }
  void receive_eof() override {
    if (ResponseReceiver* receiver = end()) receiver->on_data({}, true);
  }
  void connection_lost(ResetReason reason, std::string_view detail) override {
    if (ResponseReceiver* receiver = end()) receiver->on_reset(reason, detail);
  }
  void connection_writable() override {
    if (receiver_) receiver_->on_writable();
  }

 private:
  void send_request(const RequestHead&, bool) override {
    ResponseHead& head = receiver_->next_response();
    head.status = 200;
    receiver_->on_response(head, false);
  }
  void send_data(Bytes data, bool end_stream) override {
    connection_.write(data);
    if (end_stream) connection_.shutdown_write();
  }
  void send_trailers(const HeaderMap&) override { connection_.shutdown_write(); }
  void reset(ResetReason) override { end(); }
  bool blocked() const override { return connection_.write_blocked(); }
  void set_reading(bool on) override { connection_.set_reading(on); }

  ResponseReceiver* end() {
    ResponseReceiver* receiver = std::exchange(receiver_, nullptr);
    if (receiver) owner_.on_stream_end(false);
    return receiver;
  }

  net::Connection& connection_;
  Owner& owner_;
  ResponseReceiver* receiver_ = nullptr;
};

}  // namespace pinnace::http
