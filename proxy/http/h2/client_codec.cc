#include "proxy/http/h2/client_codec.h"

#include <algorithm>

#include "proxy/http/h2/session.h"

namespace pinnace::http::h2 {
namespace {

constexpr size_t kMaxHeadBytes = 60 * 1024;
constexpr size_t kMaxFields = 100;

class H2ClientCodec;

class ClientStream final : public StreamBase, public RequestSender {
 public:
  ClientStream(Session& session, H2ClientCodec& codec, ResponseReceiver& receiver)
      : StreamBase(session, -1), codec_(codec), receiver_(&receiver) {}

  StreamReceiver* receiver() override { return receiver_; }
  void closed(uint32_t error_code) override;
  void send_request(const RequestHead& head, bool end_stream) override;
  void send_data(Bytes data, bool end_stream) override { queue(data, end_stream); }
  void send_trailers(const HeaderMap& trailers) override { queue_trailers(trailers); }
  void reset(ResetReason) override {
    receiver_ = nullptr;
    stop(NGHTTP2_CANCEL);
  }
  bool blocked() const override { return output_blocked(); }
  void set_reading(bool on) override { allow_reading(on); }

  H2ClientCodec& codec_;
  ResponseReceiver* receiver_;
  ResponseHead* head_ = nullptr;
  size_t head_bytes_ = 0;
  bool final_head_ = false;  // the response head has come
  bool too_large_ = false;
};

class H2ClientCodec final : public ClientCodec, public Session {
 public:
  H2ClientCodec(net::Connection& connection, Owner& owner, const model::Http2Settings& settings)
      : Session(connection, false, settings), owner_(owner), own_limit_(settings.max_concurrent_streams) {}

  Protocol protocol() const override { return Protocol::kHttp2; }
  RequestSender& new_stream(ResponseReceiver& receiver) override {
    unsent_.push_back(std::make_unique<ClientStream>(*this, *this, receiver));
    return *unsent_.back();
  }
  uint32_t max_streams() const override {
    uint32_t theirs = nghttp2_session_get_remote_settings(native(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return std::min(own_limit_, theirs);
  }
  uint32_t streams() const override { return static_cast<uint32_t>(stream_count() + unsent_.size()); }
  void receive(Bytes data) override {
    if (!feed(data)) broken(ResetReason::kProtocolError);
  }
  void receive_eof() override { broken(ResetReason::kPeerClosed); }
  void connection_lost(ResetReason reason, std::string_view) override { broken(reason); }
  void connection_writable() override { resume_outputs(); }

  // The stream got its number: it moves to the streams nghttp2 knows.
  void started(ClientStream& stream) {
    auto found = std::find_if(unsent_.begin(), unsent_.end(), [&](const auto& s) { return s.get() == &stream; });
    if (found == unsent_.end()) return;
    add(std::move(*found));
    unsent_.erase(found);
  }
  void stream_closed() { owner_.on_stream_end(!draining_); }

 private:
  ClientStream* stream(int32_t id) { return static_cast<ClientStream*>(find(id)); }

  int on_begin_headers(const nghttp2_frame& frame) override {
    ClientStream* s = stream(frame.hd.stream_id);
    if (!s || !s->receiver_) return 0;
    if (!s->final_head_) s->head_ = &s->receiver_->next_response();
    s->head_bytes_ = 0;
    return 0;
  }

  int on_header(const nghttp2_frame& frame, std::string_view name, std::string_view value) override {
    ClientStream* s = stream(frame.hd.stream_id);
    if (!s || !s->receiver_ || !s->head_) return 0;
    s->head_bytes_ += name.size() + value.size() + 32;
    HeaderMap& headers = s->final_head_ ? s->receiver_->response_trailers() : s->head_->headers;
    if (s->head_bytes_ > kMaxHeadBytes || headers.size() >= kMaxFields) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (name == ":status") {
      uint16_t status = 0;
      for (char c : value) status = static_cast<uint16_t>(status * 10 + (c - '0'));
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
    ClientStream* s = stream(frame.hd.stream_id);
    if (!s || !s->receiver_ || (frame.hd.type != NGHTTP2_HEADERS && frame.hd.type != NGHTTP2_DATA)) return;
    bool end = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    ResponseReceiver* receiver = s->receiver_;
    if (end) s->receiver_ = nullptr;
    if (frame.hd.type == NGHTTP2_DATA) {
      if (end) receiver->on_data({}, true);
      return;
    }
    if (s->final_head_) return receiver->on_trailers(receiver->response_trailers());
    if (s->head_->status >= 100 && s->head_->status < 200) return receiver->on_informational(*s->head_);
    s->final_head_ = true;
    receiver->on_response(*s->head_, end);
  }

  void on_over() override { broken(ResetReason::kProtocolError); }

  void broken(ResetReason reason) {
    draining_ = true;
    auto drop = [&](ClientStream& s) {
      s.dead_now();
      if (ResponseReceiver* receiver = std::exchange(s.receiver_, nullptr)) receiver->on_reset(reason, "");
    };
    each([&](StreamBase& stream) { drop(static_cast<ClientStream&>(stream)); });
    auto unsent = std::move(unsent_);
    unsent_.clear();
    for (auto& stream : unsent) {
      drop(*stream);
      connection().loop().destroy_later(std::move(stream));
    }
    owner_.on_draining();
  }

  Owner& owner_;
  uint32_t own_limit_;
  bool draining_ = false;
  std::vector<std::unique_ptr<ClientStream>> unsent_;
};

void ClientStream::send_request(const RequestHead& head, bool end_stream) {
  std::vector<nghttp2_nv> fields;
  fields.reserve(head.headers.size() + 4);
  fields.push_back(field(":method", head.method));
  fields.push_back(field(":scheme", head.scheme.empty() ? std::string_view("http") : head.scheme));
  fields.push_back(field(":path", head.path));
  fields.push_back(field(":authority", head.authority));
  append_fields(head.headers, fields);
  nghttp2_data_provider provider = session_.provider(*this);
  id_ = nghttp2_submit_request(session_.native(), nullptr, fields.data(), fields.size(),
                               end_stream ? nullptr : &provider, nullptr);
  if (id_ < 0) return;  // out of stream numbers: the pool retires the connection with the next GOAWAY or error
  codec_.started(*this);
  session_.flush_later();
}

void ClientStream::closed(uint32_t error_code) {
  if (ResponseReceiver* receiver = std::exchange(receiver_, nullptr)) {
    receiver->on_reset(error_code == NGHTTP2_REFUSED_STREAM ? ResetReason::kRefused : ResetReason::kRemoteStream, "");
  }
  codec_.stream_closed();
}

}  // namespace

std::unique_ptr<ClientCodec> make_client_codec(net::Connection& connection, ClientCodec::Owner& owner,
                                               const model::Http2Settings& settings) {
  return std::make_unique<H2ClientCodec>(connection, owner, settings);
}

}  // namespace pinnace::http::h2
