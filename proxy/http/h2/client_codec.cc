#include "proxy/http/h2/client_codec.h"

#include <algorithm>

#include "proxy/base/recycled.h"
#include "proxy/http/h2/head_collector.h"
#include "proxy/http/h2/session.h"

namespace pinnace::http::h2 {
namespace {

class H2ClientCodec;

class ClientStream final : public StreamBase, public base::Recycled<ClientStream, 1024>, public RequestSender {
 public:
  ClientStream(Session& session, H2ClientCodec& codec, ResponseReceiver& receiver)
      : StreamBase(session), codec_(codec), receiver_(&receiver) {}

  StreamReceiver* receiver() override { return receiver_; }
  void closed(uint32_t error_code) override;
  void output_ended() override { output_ended_ = true; }
  void drop(ResetReason reason, std::string_view detail) {
    dead_ = true;
    if (ResponseReceiver* receiver = std::exchange(receiver_, nullptr)) receiver->on_reset(reason, detail);
  }
  void send_request(const RequestHead& head, bool end_stream) override;
  void send_data(Bytes data, bool end_stream) override { queue(data, end_stream); }
  void send_trailers(const HeaderMap& trailers) override { queue_trailers(trailers); }
  void reset(ResetReason) override;
  bool blocked() const override { return output_blocked(); }
  void set_reading(bool on) override { allow_reading(on); }

  int give_up(std::string_view fault) {
    stream_fault_ = fault;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  // ENVOY: a head beyond the limits is told as the upstream's reset.
  int give_up_as_reset() {
    peer_reset_ = true;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  // The response is whole: nobody reads what is left of the request (RFC 9113 8.1).
  void response_ended() {
    receiver_ = nullptr;
    if (!output_ended_) stop(NGHTTP2_NO_ERROR);
  }

  H2ClientCodec& codec_;
  ResponseReceiver* receiver_;
  ResponseHead* head_ = nullptr;  // the one that is arriving
  HeadCollector collected_;
  bool started_ = false;     // nghttp2 knows it
  bool final_head_ = false;  // the response head has come
  bool output_ended_ = false;
  bool upgrade_ = false;
};

class H2ClientCodec final : public ClientCodec, public Session {
 public:
  H2ClientCodec(net::Connection& connection, Owner& owner, const model::Http2Settings& settings,
                const h1::ClientSettings& limits, const CodecStats& stats)
      : Session(connection, Side::kClient, settings, limits.max_head_bytes, stats),
        owner_(owner),
        limits_{limits.max_head_bytes, limits.limits.max_headers},
        own_limit_(settings.max_concurrent_streams) {}

  Protocol protocol() const override { return Protocol::kHttp2; }
  RequestSender& new_stream(ResponseReceiver& receiver) override {
    note_activity();
    starting_++;
    return *new ClientStream(*this, *this, receiver);
  }
  uint32_t max_streams() const override {
    if (broken_) return 0;
    uint32_t theirs = nghttp2_session_get_remote_settings(native(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return std::min(own_limit_, theirs);
  }
  // Once they are dropped there are none: the owner closes the connection whatever nghttp2 still keeps of them.
  uint32_t streams() const override { return dropped_ ? 0 : static_cast<uint32_t>(stream_count()) + starting_; }
  void receive(Bytes data) override {
    if (!feed(data)) broken(ResetReason::kProtocolError, limit_broken());
  }
  void receive_eof() override { broken(ResetReason::kPeerClosed, ""); }
  void connection_lost(ResetReason reason, std::string_view detail) override { broken(reason, detail); }
  void connection_writable() override { flush_later(); }

  void started(ClientStream& stream, int32_t id) {
    starting_--;
    add(stream, id);
  }
  // The stream ended before it began.
  void never_started(ClientStream& stream) {
    starting_--;
    discard(stream);
    owner_.on_stream_end(!draining_);
  }
  void stream_closed() { owner_.on_stream_end(!draining_); }

 private:
  ClientStream* stream(int32_t id) { return static_cast<ClientStream*>(find(id)); }

  int on_begin_headers(const nghttp2_frame& frame) override {
    ClientStream* s = stream(frame.hd.stream_id);
    if (s && s->receiver_ && !s->final_head_) s->head_ = &s->receiver_->next_response();
    return 0;
  }

  int on_header(const nghttp2_frame& frame, std::string_view name, std::string_view value) override {
    ClientStream* s = stream(frame.hd.stream_id);
    if (!s->receiver_ || !s->head_) return 0;
    if (!s->collected_.admit(name, value, limits_)) {
      cells().add(stats().header_overflow);
      // What is left of an endless head would take later streams with it.
      if ((frame.hd.flags & NGHTTP2_FLAG_END_HEADERS) == 0) {
        draining_ = true;
        owner_.on_draining();
      }
      return s->give_up_as_reset();
    }
    HeaderMap& headers = s->final_head_ ? s->receiver_->response_trailers() : s->head_->headers;
    if (name == ":status") {
      uint16_t status = 0;
      for (char c : value) status = static_cast<uint16_t>(status * 10 + (c - '0'));
      if (status < 100) return s->give_up("http2.invalid.header.field");  // RFC 9110 15
      s->head_->status = status;
    } else if (name[0] != ':') {
      headers.add_copy(name, value);
    }
    return 0;
  }

  void on_frame(const nghttp2_frame& frame) override {
    if (frame.hd.type == NGHTTP2_GOAWAY) {
      draining_ = true;
      return owner_.on_draining();
    }
    if (frame.hd.type == NGHTTP2_SETTINGS) return owner_.on_capacity();
    if (frame.hd.type != NGHTTP2_HEADERS && frame.hd.type != NGHTTP2_DATA) return;
    ClientStream* s = stream(frame.hd.stream_id);
    if (!s || !s->receiver_) return;
    bool end = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    ResponseReceiver* receiver = s->receiver_;
    if (end) s->response_ended();
    if (frame.hd.type == NGHTTP2_DATA) {
      if (end) receiver->on_data({}, true);
      return;
    }
    if (s->final_head_) return receiver->on_trailers(receiver->response_trailers());
    s->collected_ = {};
    if (s->upgrade_ && s->head_->status == 200) s->head_->status = 101;  // RFC 8441 5
    if (s->head_->status >= 100 && s->head_->status < 200 && s->head_->status != 101) {
      return receiver->on_informational(*s->head_);
    }
    s->final_head_ = true;
    receiver->on_response(*s->head_, end);
  }

  void on_over() override {
    bool silent = fault() == "http2.ping_timeout";  // ENVOY: as if it had closed
    broken(silent ? ResetReason::kPeerClosed : ResetReason::kProtocolError, limit_broken());
  }

  // The plain breach of the protocol is told by the reason already.
  std::string_view limit_broken() const { return fault() == "http2.protocol_error" ? std::string_view() : fault(); }

  void broken(ResetReason reason, std::string_view detail) {
    if (std::exchange(broken_, true)) return;
    draining_ = true;
    each([&](StreamBase& stream) { static_cast<ClientStream&>(stream).drop(reason, detail); });
    dropped_ = true;
    owner_.on_draining();
  }

  Owner& owner_;
  const HeadLimits limits_;
  const uint32_t own_limit_;
  uint32_t starting_ = 0;  // handed out, not yet sent
  bool draining_ = false;
  bool broken_ = false;
  bool dropped_ = false;  // every stream was told
};

void ClientStream::send_request(const RequestHead& head, bool end_stream) {
  upgrade_ = !head.upgrade.empty();
  auto& fields = field_scratch();
  fields.push_back(field(":method", upgrade_ ? std::string_view("CONNECT") : head.method));
  if (upgrade_) fields.push_back(field(":protocol", head.upgrade));
  if (upgrade_ || head.method != "CONNECT") {
    fields.push_back(field(":scheme", head.scheme.empty() ? std::string_view("http") : head.scheme));
    fields.push_back(field(":path", head.path));
  }
  fields.push_back(field(":authority", head.authority));
  append_fields(head.headers, fields);
  nghttp2_data_provider body = provider();
  int32_t id = nghttp2_submit_request(session_.native(), nullptr, fields.data(), fields.size(),
                                      end_stream ? nullptr : &body, this);
  started_ = true;
  if (id < 0) {  // out of stream numbers (RFC 9113 5.1.1), or of memory: another connection may take it
    drop(ResetReason::kRefused, "");
    return codec_.never_started(*this);
  }
  codec_.started(*this, id);
  session_.flush_later();
}

void ClientStream::reset(ResetReason) {
  receiver_ = nullptr;
  if (!started_) return codec_.never_started(*this);
  stop(NGHTTP2_CANCEL);
}

void ClientStream::closed(uint32_t error_code) {
  drop(!reset_by_peer(error_code)             ? ResetReason::kProtocolError
       : error_code == NGHTTP2_REFUSED_STREAM ? ResetReason::kRefused
                                              : ResetReason::kRemoteStream,
       "");
  codec_.stream_closed();
}

}  // namespace

std::unique_ptr<ClientCodec> make_client_codec(net::Connection& connection, ClientCodec::Owner& owner,
                                               const model::Http2Settings& settings, const h1::ClientSettings& limits,
                                               const CodecStats& stats) {
  return std::make_unique<H2ClientCodec>(connection, owner, settings, limits, stats);
}

}  // namespace pinnace::http::h2
