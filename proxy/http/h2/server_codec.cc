#include "proxy/http/h2/server_codec.h"

#include <charconv>

#include "proxy/base/recycled.h"
#include "proxy/http/authority.h"
#include "proxy/http/h2/ended_streams.h"
#include "proxy/http/h2/head_collector.h"
#include "proxy/http/h2/session.h"

namespace pinnace::http::h2 {
namespace {

class ServerStream final : public StreamBase, public base::Recycled<ServerStream, 1024>, public ResponseSender {
 public:
  explicit ServerStream(Session& session) : StreamBase(session) {}

  StreamReceiver* receiver() override { return receiver_; }
  void closed(uint32_t error_code) override {
    if (reset_by_peer(error_code)) return drop(ResetReason::kRemoteStream, "http2.remote_reset");
    drop(ResetReason::kProtocolError, stream_fault());
  }
  void give_up(std::string_view fault) { stream_fault_ = fault; }
  void drop(ResetReason reason, std::string_view detail) {
    dead_ = true;
    if (RequestReceiver* receiver = std::exchange(receiver_, nullptr)) receiver->on_reset(reason, detail);
  }
  // The response is out while the request is not all in: the client may stop sending (RFC 9113 8.1).
  void output_ended() override {
    if (!request_ended_) stop(NGHTTP2_NO_ERROR);
  }

  void send_informational(const ResponseHead& head) override {
    if (dead_) return;
    char status[3];
    auto& fields = head_fields(head, head.status, status);
    nghttp2_submit_headers(session_.native(), NGHTTP2_FLAG_NONE, id_, nullptr, fields.data(), fields.size(), nullptr);
    session_.flush_later();
  }
  void send_response(const ResponseHead& head, bool end_stream) override {
    if (dead_) return;
    if (tunnel_ && !end_stream && opens_tunnel(upgrade_, head.status)) open_ = true;
    char status[3];
    auto& fields = head_fields(head, head.status == 101 ? 200 : head.status, status);  // RFC 8441 5
    nghttp2_data_provider body = provider();
    nghttp2_submit_response(session_.native(), id_, fields.data(), fields.size(), end_stream ? nullptr : &body);
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
    stop(open_ ? NGHTTP2_CONNECT_ERROR : NGHTTP2_INTERNAL_ERROR);  // RFC 9113 8.5: the tunnel's other side broke
  }
  bool blocked() const override { return output_blocked(); }
  void set_reading(bool on) override { allow_reading(on); }

  void request_head_done(const RequestHead& head) {
    tunnel_ = head.wants_tunnel();
    upgrade_ = !head.upgrade.empty();
  }
  // Bytes for a tunnel that is not open are nobody's (CVE-2025-64763).
  bool early_data() const { return tunnel_ && !open_; }
  void refuse_early_data() {
    RequestReceiver* receiver = std::exchange(receiver_, nullptr);
    stop(NGHTTP2_PROTOCOL_ERROR);
    if (receiver) receiver->on_reset(ResetReason::kProtocolError, "http2.data_before_tunnel");
  }

  RequestReceiver* receiver_ = nullptr;
  HeadCollector collected_;
  bool head_done_ = false;
  bool request_ended_ = false;

 private:
  static std::vector<nghttp2_nv>& head_fields(const ResponseHead& head, uint16_t code, char (&status)[3]) {
    auto& fields = field_scratch();
    std::to_chars(status, status + 3, code);
    fields.push_back(field(":status", {status, 3}));
    append_fields(head.headers, fields);
    return fields;
  }

  bool tunnel_ = false, upgrade_ = false, open_ = false;
};

class H2ServerCodec final : public ServerCodec, public Session {
 public:
  H2ServerCodec(net::Connection& connection, Owner& owner, const model::Http2Settings& settings,
                const h1::ServerSettings& limits, const CodecStats& stats)
      : Session(connection, Side::kServer, settings, limits.max_head_bytes, stats),
        owner_(owner),
        limits_{limits.max_head_bytes, limits.limits.max_headers} {}

  Protocol protocol() const override { return Protocol::kHttp2; }
  void receive(Bytes data) override {
    size_t obeys = ended_.admit(data);
    if (!feed(data.first(obeys))) return fail(ResetReason::kProtocolError, fault());
    if (obeys == data.size()) return;
    nghttp2_session_terminate_session(native(), NGHTTP2_STREAM_CLOSED);
    flush_later();
  }
  void receive_eof() override { connection_lost("downstream_remote_disconnect"); }
  void connection_lost(std::string_view detail) override { fail(ResetReason::kPeerClosed, detail); }
  void connection_writable() override { flush_later(); }
  void start_drain() override {
    if (std::exchange(draining_, true)) return;
    nghttp2_submit_shutdown_notice(native());
    flush_later();
  }
  // After the last GOAWAY the connection ends with its last stream (on_over()).
  void finish_drain() override {
    draining_ = true;
    cells().add(stats().goaway_sent);
    nghttp2_submit_goaway(native(), NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(native()),
                          NGHTTP2_NO_ERROR, nullptr, 0);
    if (can_pump()) {
      flush();
    } else {
      flush_later();
    }
  }
  bool idle() const override { return stream_count() == 0; }
  void abandon() override {
    finished_ = true;
    if (can_pump()) flush();
    abandon_session();
    each([](StreamBase& stream) { static_cast<ServerStream&>(stream).receiver_ = nullptr; });
  }
  void reject_partial_head(uint16_t status, std::string_view detail) override {
    each([&](StreamBase& stream) {
      auto& s = static_cast<ServerStream&>(stream);
      if (!s.head_done_ && s.receiver_) s.receiver_->on_bad_request(status, detail);
    });
  }

 private:
  ServerStream* stream(int32_t id) { return static_cast<ServerStream*>(find(id)); }

  int on_begin_headers(const nghttp2_frame& frame) override {
    if (frame.hd.type != NGHTTP2_HEADERS) return 0;
    if (frame.headers.cat != NGHTTP2_HCAT_REQUEST) {
      cells().add(stats().trailers);
      return 0;
    }
    auto* fresh = new ServerStream(*this);
    nghttp2_session_set_stream_user_data(native(), frame.hd.stream_id, fresh);
    add(*fresh, frame.hd.stream_id);
    fresh->receiver_ = &owner_.new_stream(*fresh);
    fresh->receiver_->request().protocol = Protocol::kHttp2;
    if ((frame.hd.flags & NGHTTP2_FLAG_END_HEADERS) == 0) owner_.on_partial_head();
    return 0;
  }

  int on_header(const nghttp2_frame& frame, std::string_view name, std::string_view value) override {
    ServerStream* s = stream(frame.hd.stream_id);
    if (!s->receiver_) return 0;
    if (!s->collected_.admit(name, value, limits_)) {
      // A head is answered 431 when it is whole; for trailers there is no answer left.
      if (!s->head_done_ && !s->collected_.hopeless(limits_)) return 0;
      cells().add(stats().header_overflow);
      s->give_up("http2.too_many_headers");
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (s->head_done_) {
      s->receiver_->request_trailers().add_copy(name, value);
    } else {
      s->collected_.take(s->receiver_->request(), name, value);
    }
    return 0;
  }

  void on_frame(const nghttp2_frame& frame) override {
    if (frame.hd.type != NGHTTP2_HEADERS && frame.hd.type != NGHTTP2_DATA) return;
    ServerStream* s = stream(frame.hd.stream_id);
    if (!s) return;
    bool end = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (end) s->request_ended_ = true;
    RequestReceiver* receiver = s->receiver_;
    if (!receiver) return;
    if (frame.hd.type == NGHTTP2_DATA) {
      if (end) receiver->on_data({}, true);
      return;
    }
    if (!std::exchange(s->head_done_, true)) return begin(*s, *receiver, end);
    receiver->on_trailers(receiver->request_trailers());
  }

  void begin(ServerStream& s, RequestReceiver& receiver, bool end) {
    bool fits = s.collected_.fits();
    s.collected_.finish(receiver.request());
    s.request_head_done(receiver.request());
    if (!fits) {
      cells().add(stats().header_overflow);
      return receiver.on_bad_request(431, "http2.too_many_headers");
    }
    // RFC 9113 8.3.1: no user information.
    std::string_view authority = receiver.request().authority;
    bool plain = authority_ok(authority) && authority.find('@') == std::string_view::npos;
    if (!plain) return receiver.on_bad_request(400, "http.invalid_authority");
    receiver.on_request(end);
  }

  bool on_early_data(StreamBase& stream) override {
    auto& s = static_cast<ServerStream&>(stream);
    if (!s.early_data()) return false;
    s.refuse_early_data();
    return true;
  }

  void on_over() override { fail(fault().empty() ? ResetReason::kPeerClosed : ResetReason::kProtocolError, fault()); }

  // Ends every stream and then the connection.
  void fail(ResetReason reason, std::string_view detail) {
    if (std::exchange(finished_, true)) return;
    if (reason == ResetReason::kProtocolError) owner_.on_codec_fault(detail);
    each([&](StreamBase& stream) { static_cast<ServerStream&>(stream).drop(reason, detail); });
    owner_.on_codec_done();
  }

  Owner& owner_;
  const HeadLimits limits_;
  EndedStreams ended_;
  bool draining_ = false;
  bool finished_ = false;
};

}  // namespace

std::unique_ptr<ServerCodec> make_server_codec(net::Connection& connection, ServerCodec::Owner& owner,
                                               const model::Http2Settings& settings, const h1::ServerSettings& limits,
                                               const CodecStats& stats) {
  return std::make_unique<H2ServerCodec>(connection, owner, settings, limits, stats);
}

}  // namespace pinnace::http::h2
