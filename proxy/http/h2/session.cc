#include "proxy/http/h2/session.h"

#include <utility>

#include "proxy/http/h2/memory.h"

namespace pinnace::http::h2 {

struct Session::Callbacks {
  static Session& of(void* user) { return *static_cast<Session*>(user); }

  static int begin_frame(nghttp2_session*, const nghttp2_frame_hd* hd, void* user) {
    Session& session = of(user);
    if (session.over_) return NGHTTP2_ERR_CALLBACK_FAILURE;
    const char* fault = session.guard_.frame_received(hd->type, hd->flags, hd->length);
    if (!fault) return 0;
    session.break_off(fault);
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    return of(user).on_begin_headers(*frame);
  }
  static int header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                    const uint8_t* value, size_t value_size, uint8_t, void* user) {
    Session& session = of(user);
    if (!session.find(frame->hd.stream_id)) {
      session.cells().add(session.stats_.headers_cb_no_stream);
      return 0;
    }
    return session.on_header(*frame, {reinterpret_cast<const char*>(name), name_size},
                             {reinterpret_cast<const char*>(value), value_size});
  }
  static int frame_recv(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Session& session = of(user);
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 && session.ping_sent_) {
      session.ping_sent_ = false;
      session.arm_ping();
    }
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
      if (StreamBase* stream = session.find(frame->hd.stream_id)) {
        stream->peer_reset_ = true;
        session.cells().add(session.stats_.rx_reset);
      }
    }
    session.on_frame(*frame);
    return 0;
  }
  // nghttp2 resets the stream, or ends the session, itself.
  static int invalid_frame(nghttp2_session*, const nghttp2_frame* frame, int error, void* user) {
    Session& session = of(user);
    bool messaging = error == NGHTTP2_ERR_HTTP_HEADER || error == NGHTTP2_ERR_HTTP_MESSAGING;
    if (messaging) session.cells().add(session.stats_.rx_messaging_error);
    if (error == NGHTTP2_ERR_REFUSED_STREAM) session.cells().add(session.stats_.stream_refused_errors);
    StreamBase* stream = session.find(frame->hd.stream_id);
    if (!stream) return 0;
    stream->stream_fault_ = error == NGHTTP2_ERR_HTTP_HEADER      ? "http2.invalid.header.field"
                            : error == NGHTTP2_ERR_HTTP_MESSAGING ? "http2.violation.of.messaging.rule"
                                                                  : "http2.protocol_error";
    return 0;
  }
  static int data(nghttp2_session* native, uint8_t, int32_t id, const uint8_t* bytes, size_t size, void* user) {
    Session& session = of(user);
    StreamBase* stream = session.find(id);
    // The connection's window never waits for one slow stream.
    nghttp2_session_consume_connection(native, size);
    if (!stream || stream->dead_ || !stream->receiver() || session.on_early_data(*stream)) {
      nghttp2_session_consume_stream(native, id, size);
      return 0;
    }
    stream->unconsumed_ += size;
    stream->receiver()->on_data({bytes, size}, false);
    if (stream->reading_ && !stream->dead_)
      nghttp2_session_consume_stream(native, id, std::exchange(stream->unconsumed_, 0));
    return 0;
  }
  // A DATA frame of StreamBase::read_length(): its header, then the stream's bytes.
  static int send_data(nghttp2_session*, nghttp2_frame*, const uint8_t* head, size_t size, nghttp2_data_source* source,
                       void* user) {
    Session& session = of(user);
    if (session.full()) return NGHTTP2_ERR_WOULDBLOCK;  // asked again when there is room
    session.out_.append({head, 9});
    static_cast<StreamBase*>(source->ptr)->move_to(session.out_, size);
    session.guard_.data_sent();
    return 0;
  }
  static int frame_send(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_RST_STREAM) of(user).cells().add(of(user).stats_.tx_reset);
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR && of(user).fault_.empty()) {
      of(user).fault_ = "http2.protocol_error";
    }
    bool last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!last || (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)) return 0;
    if (StreamBase* stream = of(user).find(frame->hd.stream_id)) stream->output_ended();
    return 0;
  }
  static int stream_close(nghttp2_session*, int32_t id, uint32_t error_code, void* user) {
    Session& session = of(user);
    StreamBase* stream = session.find(id);
    if (!stream) return 0;
    session.found_id_ = -1;
    session.found_ = nullptr;
    stream->dead_ = true;
    stream->unlink();
    session.stream_count_--;
    session.cells().dec(session.stats_.streams_active);
    stream->drop_pending();
    stream->closed(error_code);
    session.loop_.destroy_later(std::unique_ptr<base::Deferred>(stream));
    return 0;
  }
};

Session::Session(net::Connection& connection, Side side, const model::Http2Settings& settings, uint32_t max_head_bytes,
                 const CodecStats& stats)
    : connection_(connection),
      loop_(connection.loop()),
      settings_(settings),
      stats_(stats),
      guard_(settings, 8 + max_head_bytes / (16 * 1024)),
      out_(loop_.blocks()),
      last_active_ms_(loop_.now_ms()) {
  nghttp2_session_callbacks* callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, Callbacks::begin_frame);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, Callbacks::begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Callbacks::frame_recv);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::data);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, Callbacks::invalid_frame);
  nghttp2_session_callbacks_set_send_data_callback(callbacks, Callbacks::send_data);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, Callbacks::frame_send);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Callbacks::stream_close);
  nghttp2_option* options;
  nghttp2_option_new(&options);
  nghttp2_option_set_no_auto_window_update(options, 1);
  nghttp2_option_set_max_outbound_ack(options, settings.max_outbound_control_frames);
  // Debian's default (1,000 and 33 a second) ends connections of gRPC clients that cancel a lot; the connection manager
  // counts resets that come too soon.
  nghttp2_option_set_stream_reset_rate_limit(options, 10000, 1000);
  // The guard counts those of heads that are read. nghttp2 counts each part of a frame's head that comes in a read of
  // its own; its bound is for what it skips.
  nghttp2_option_set_max_continuations(options, 10000);
  nghttp2_option_set_no_closed_streams(options, 1);  // EndedStreams knows what matters of them
  nghttp2_option_set_max_send_header_block_length(options, 16 * 1024 * 1024);
  if (side == Side::kServer) {
    nghttp2_session_server_new3(&session_, callbacks, this, options, session_memory());
  } else {
    nghttp2_session_client_new3(&session_, callbacks, this, options, session_memory());
  }
  nghttp2_option_del(options);
  nghttp2_session_callbacks_del(callbacks);
  if (!session_) throw std::bad_alloc();
  nghttp2_settings_entry entries[5] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings.max_concurrent_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, settings.initial_stream_window},
      {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, settings.header_table_size},
  };
  size_t count = 3;
  if (side == Side::kClient) entries[count++] = {NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
  if (settings.allow_connect) entries[count++] = {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, entries, count);
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<int32_t>(settings.initial_connection_window));
  ping_timer_.init(
      connection.loop().timers(), [](void* self) { static_cast<Session*>(self)->on_ping_timer(); }, this);
  arm_ping();
  flush_later();
}

Session::~Session() {
  // Streams that nghttp2 still knows are dropped silently: their owners have been told before.
  while (StreamBase* stream = streams_.pop_front()) {
    cells().dec(stats_.streams_active);
    stream->drop_pending();
    delete stream;
  }
  nghttp2_session_del(session_);
}

void Session::add(StreamBase& stream, int32_t id) {
  stream.id_ = id;
  streams_.push_back(stream);
  stream_count_++;
  cells().inc(stats_.streams_active);
  guard_.stream_opened();
}

void Session::discard(StreamBase& stream) {
  stream.dead_ = true;
  loop_.destroy_later(std::unique_ptr<base::Deferred>(&stream));
}

bool Session::feed(Bytes data) {
  if (over_) return false;
  last_active_ms_ = loop_.now_ms();
  in_nghttp2_ = true;
  ssize_t used = nghttp2_session_mem_recv(session_, data.data(), data.size());
  in_nghttp2_ = false;
  if (over_) return true;  // its owner has closed the connection meanwhile
  if (used < 0 && !fault_.empty()) {
    nghttp2_session_terminate_session(session_, NGHTTP2_ENHANCE_YOUR_CALM);
  } else if (used < 0 && fault_.empty()) {
    break_off(used == NGHTTP2_ERR_FLOODED ? "http2.outbound_control_frames_flood" : "http2.protocol_error");
  }
  if (used < 0) {
    flush();
    return false;
  }
  check_outbound();
  flush_later();
  return fault_.empty();
}

// Frames that the peer makes us queue and does not read.
void Session::check_outbound() {
  if (nghttp2_session_get_outbound_queue_size(session_) <= settings_.max_outbound_frames) return;
  break_off("http2.outbound_frames_flood");
}

void Session::flush_later() {
  if (!linked()) loop_.at_turn_end(*this);
}

void Session::pump() {
  in_nghttp2_ = true;
  while (!full()) {
    const uint8_t* bytes = nullptr;
    ssize_t n = nghttp2_session_mem_send(session_, &bytes);
    if (n <= 0) break;  // nothing is due, or send_data() has taken it all
    out_.append({bytes, static_cast<size_t>(n)});
  }
  in_nghttp2_ = false;
}

void Session::flush() {
  if (over_) return;
  do {
    pump();
    bool more = out_.size() >= kMostGathered;
    connection_.write(std::move(out_));
    if (!more) break;
  } while (!connection_.write_blocked());
  if (std::exchange(unblocked_, false)) {
    each([](StreamBase& stream) {
      if (!std::exchange(stream.unblocked_, false) || stream.dead_) return;
      if (StreamReceiver* receiver = stream.receiver()) receiver->on_writable();
    });
  }
  if (over_) return;
  if (nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0) end_over({});
}

// Limits that Envoy counts.
void Session::break_off(std::string_view fault) {
  fault_ = fault;
  const std::pair<std::string_view, stats::Counter> counted[] = {
      {"http2.inbound_empty_frames_flood", stats_.inbound_empty_frames_flood},
      {"http2.inbound_priority_frames_flood", stats_.inbound_priority_frames_flood},
      {"http2.inbound_window_update_frames_flood", stats_.inbound_window_update_frames_flood},
      {"http2.outbound_frames_flood", stats_.outbound_flood},
      {"http2.outbound_control_frames_flood", stats_.outbound_control_flood},
      {"http2.ping_timeout", stats_.keepalive_timeout}};
  for (const auto& [name, counter] : counted) {
    if (name == fault) cells().add(counter);
  }
}

void Session::end_over(std::string_view fault) {
  if (std::exchange(over_, true)) return;
  if (!fault.empty()) break_off(fault);
  ping_timer_.cancel();
  on_over();
}

void Session::unblock_later(StreamBase& stream) {
  stream.unblocked_ = true;
  unblocked_ = true;
  flush_later();
}

void Session::note_activity() {
  uint64_t now = loop_.now_ms();
  uint64_t idle = settings_.keepalive.idle_ms;
  if (idle > 0 && now - last_active_ms_ >= idle && !ping_sent_) send_ping();
  last_active_ms_ = now;
}

void Session::arm_ping() {
  const model::Http2Keepalive& keepalive = settings_.keepalive;
  if (keepalive.interval_ms == 0) {
    ping_timer_.cancel();
    return;
  }
  uint64_t jitter = keepalive.interval_ms * keepalive.jitter_percent / 100;
  ping_timer_.arm(keepalive.interval_ms + (jitter > 0 ? loop_.rng().below(jitter) : 0));
}

void Session::send_ping() {
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  ping_sent_ = true;
  ping_timer_.arm(settings_.keepalive.timeout_ms);
  flush_later();
}

void Session::on_ping_timer() {
  if (ping_sent_) return end_over("http2.ping_timeout");
  send_ping();
}

nghttp2_nv field(std::string_view name, std::string_view value) {
  auto bytes = [](std::string_view text) { return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data())); };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

void append_fields(const HeaderMap& headers, std::vector<nghttp2_nv>& out) {
  for (const Header& header : headers) {
    switch (header.id) {
      case HeaderId::kConnection:
      case HeaderId::kTransferEncoding:
      case HeaderId::kKeepAlive:
      case HeaderId::kProxyConnection:
      case HeaderId::kUpgrade:
      case HeaderId::kHost: break;
      // Seldom the same twice: in the HPACK table (RFC 7541 6.2.3) they would drive out what comes again.
      case HeaderId::kRequestId:
      case HeaderId::kGrpcTimeout:
      case HeaderId::kEnvoyUpstreamServiceTime:
        out.push_back(field(header.name, header.value));
        out.back().flags = NGHTTP2_NV_FLAG_NO_INDEX;
        break;
      default: out.push_back(field(header.name, header.value));
    }
  }
}

std::vector<nghttp2_nv>& field_scratch() {
  static thread_local std::vector<nghttp2_nv> scratch;
  scratch.clear();
  return scratch;
}

}  // namespace pinnace::http::h2
