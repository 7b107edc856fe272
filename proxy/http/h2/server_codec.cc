#include "proxy/http/h2/server_codec.h"

#include <charconv>

#include "proxy/http/h2/session.h"

namespace pinnace::http::h2 {
namespace {

class ServerStream final : public StreamBase, public ResponseSender {
 public:
  ServerStream(Session& session, int32_t id) : StreamBase(session, id) {}

  StreamReceiver* receiver() override { return receiver_; }
  void closed(uint32_t error_code) override {
    if (RequestReceiver* receiver = std::exchange(receiver_, nullptr)) {
      receiver->on_reset(ResetReason::kRemoteStream, error_code == NGHTTP2_NO_ERROR ? "" : "http2.remote_reset");
    }
  }
  // The response is out while the request is not all in: the client may stop sending (RFC 9113 8.1).
  void output_ended() override {
    if (!request_ended_) stop(NGHTTP2_NO_ERROR);
  }

  void send_informational(const ResponseHead& head) override {
    char status[3];
    std::vector<nghttp2_nv> fields = head_fields(head, status);
    nghttp2_submit_headers(session_.native(), NGHTTP2_FLAG_NONE, id_, nullptr, fields.data(), fields.size(), nullptr);
    session_.flush_later();
  }
  void send_response(const ResponseHead& head, bool end_stream) override {
    if (dead_) return;
    char status[3];
    std::vector<nghttp2_nv> fields = head_fields(head, status);
    nghttp2_data_provider provider = session_.provider(*this);
    nghttp2_submit_response(session_.native(), id_, fields.data(), fields.size(), end_stream ? nullptr : &provider);
    if (end_stream) receiver_ = nullptr;
    session_.flush_later();
  }
  void send_data(Bytes data, bool end_stream) override {
    if (end_stream) receiver_ = nullptr;
    queue(data, end_stream);
  }
  void send_trailers(const HeaderMap& trailers) override {
    receiver_ = nullptr;
    queue_trailers(trailers);
  }
  void reset(ResetReason) override {
    receiver_ = nullptr;
    stop(NGHTTP2_INTERNAL_ERROR);
  }
  bool blocked() const override { return output_blocked(); }
  void set_reading(bool on) override { allow_reading(on); }

  RequestReceiver* receiver_ = nullptr;
  size_t head_bytes_ = 0;
  bool head_done_ = false;
  bool too_large_ = false;
  bool request_ended_ = false;

 private:
  static std::vector<nghttp2_nv> head_fields(const ResponseHead& head, char (&status)[3]) {
    std::vector<nghttp2_nv> fields;
    fields.reserve(head.headers.size() + 1);
    std::to_chars(status, status + 3, head.status);
    fields.push_back(field(":status", {status, 3}));
    append_fields(head.headers, fields);
    return fields;
  }
};

class H2ServerCodec final : public ServerCodec, public Session {
 public:
  H2ServerCodec(net::Connection& connection, Owner& owner, const model::Http2Settings& settings,
                const h1::ServerSettings& limits)
      : Session(connection, true, settings), owner_(owner), limits_(limits) {}

  Protocol protocol() const override { return Protocol::kHttp2; }
  void receive(Bytes data) override {
    if (!feed(data)) finish();
    else if (draining_ && stream_count() == 0) finish();
  }
  void receive_eof() override { connection_lost("downstream_remote_disconnect"); }
  void connection_lost(std::string_view detail) override {
    each([&](StreamBase& stream) {
      auto& s = static_cast<ServerStream&>(stream);
      s.dead_now();
      if (RequestReceiver* receiver = std::exchange(s.receiver_, nullptr))
        receiver->on_reset(ResetReason::kPeerClosed, detail);
    });
    finish();
  }
  void connection_writable() override { resume_outputs(); }
  void start_drain() override {
    if (std::exchange(draining_, true)) return;
    nghttp2_submit_goaway(native(), NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(native()),
                          NGHTTP2_NO_ERROR, nullptr, 0);
    flush_later();
    if (stream_count() == 0) finish();
  }
  bool idle() const override { return stream_count() == 0; }
  void reject_partial_head(uint16_t, std::string_view) override {}

 private:
  ServerStream* stream(int32_t id) { return static_cast<ServerStream*>(find(id)); }

  int on_begin_headers(const nghttp2_frame& frame) override {
    if (frame.hd.type != NGHTTP2_HEADERS || frame.headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    auto fresh = std::make_unique<ServerStream>(*this, frame.hd.stream_id);
    fresh->receiver_ = &owner_.new_stream(*fresh);
    fresh->receiver_->request().protocol = Protocol::kHttp2;
    add(std::move(fresh));
    return 0;
  }

  int on_header(const nghttp2_frame& frame, std::string_view name, std::string_view value) override {
    ServerStream* s = stream(frame.hd.stream_id);
    if (!s || !s->receiver_) return 0;
    // CVE-2026-47774: what counts is the decoded size and the number of fields, cookie crumbs included.
    s->head_bytes_ += name.size() + value.size() + 32;
    base::Arena& arena = s->receiver_->arena();
    RequestHead& head = s->receiver_->request();
    HeaderMap& headers = s->head_done_ ? s->receiver_->request_trailers() : head.headers;
    if (s->head_bytes_ > limits_.max_head_bytes || headers.size() >= limits_.limits.max_headers) {
      s->too_large_ = true;
      return s->head_done_ ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
    }
    if (name[0] == ':') {
      std::string_view copy = arena.copy(value);
      if (name == ":method") head.method = copy;
      else if (name == ":path") head.path = copy;
      else if (name == ":authority") head.authority = copy;
      else if (name == ":scheme") head.scheme = copy;
      return 0;
    }
    HeaderId id = header_id(name);
    if (id == HeaderId::kHost) {
      if (head.authority.empty()) head.authority = arena.copy(value);
    } else if (id == HeaderId::kCookie && headers.has(id)) {
      headers.append_to(id, "; ", value);  // RFC 9113 8.2.3
    } else {
      headers.add_copy(name, value);
    }
    return 0;
  }

  void on_frame(const nghttp2_frame& frame) override {
    ServerStream* s = stream(frame.hd.stream_id);
    bool end = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!s || (frame.hd.type != NGHTTP2_HEADERS && frame.hd.type != NGHTTP2_DATA)) return;
    if (end) s->request_ended_ = true;
    RequestReceiver* receiver = s->receiver_;
    if (!receiver) return;
    if (frame.hd.type == NGHTTP2_DATA) {
      if (end) receiver->on_data({}, true);
      return;
    }
    if (!std::exchange(s->head_done_, true)) {
      if (s->too_large_) return receiver->on_bad_request(431, "http2.too_many_headers");
      return receiver->on_request(end);
    }
    receiver->on_trailers(receiver->request_trailers());
  }

  void on_over() override { finish(); }

  void finish() {
    if (std::exchange(finished_, true)) return;
    owner_.on_codec_done();
  }

  Owner& owner_;
  const h1::ServerSettings& limits_;
  bool draining_ = false;
  bool finished_ = false;
};

}  // namespace

std::unique_ptr<ServerCodec> make_server_codec(net::Connection& connection, ServerCodec::Owner& owner,
                                               const model::Http2Settings& settings, const h1::ServerSettings& limits) {
  return std::make_unique<H2ServerCodec>(connection, owner, settings, limits);
}

}  // namespace pinnace::http::h2
