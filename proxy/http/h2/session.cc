#include "proxy/http/h2/session.h"

#include <algorithm>
#include <cstring>

namespace pinnace::http::h2 {

StreamBase::StreamBase(Session& session, int32_t id) : session_(session), id_(id), body_(session.blocks()) {}

void StreamBase::queue(Bytes data, bool end) {
  if (dead_) return;
  body_.append(data);
  if (end) end_ = true;
  if (output_blocked()) was_blocked_ = true;
  if (std::exchange(deferred_, false)) nghttp2_session_resume_data(session_.native(), id_);
  session_.flush_later();
}

// They go out when the body has; the data provider submits them. Copied: the sender's arena may be gone by then.
void StreamBase::queue_trailers(const HeaderMap& trailers) {
  if (dead_) return;
  trailers_.clear();
  for (const Header& header : trailers) trailers_.emplace_back(header.name, header.value);
  has_trailers_ = true;
  end_ = true;
  if (std::exchange(deferred_, false)) nghttp2_session_resume_data(session_.native(), id_);
  session_.flush_later();
}

void StreamBase::stop(uint32_t error_code) {
  if (dead_) return;
  dead_ = true;
  body_.clear();
  nghttp2_submit_rst_stream(session_.native(), NGHTTP2_FLAG_NONE, id_, error_code);
  session_.flush_later();
}

void StreamBase::allow_reading(bool on) {
  reading_ = on;
  if (!on || unconsumed_ == 0 || dead_) return;
  nghttp2_session_consume_stream(session_.native(), id_, std::exchange(unconsumed_, 0));
  session_.flush_later();
}

struct Session::Callbacks {
  static Session& of(void* user) { return *static_cast<Session*>(user); }

  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    return of(user).on_begin_headers(*frame);
  }
  static int header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                    const uint8_t* value, size_t value_size, uint8_t, void* user) {
    return of(user).on_header(*frame, {reinterpret_cast<const char*>(name), name_size},
                              {reinterpret_cast<const char*>(value), value_size});
  }
  static int frame_recv(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    of(user).on_frame(*frame);
    return 0;
  }
  static int data(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* bytes, size_t size, void* user) {
    StreamBase* stream = of(user).find(id);
    // The connection's window never waits for one slow stream.
    nghttp2_session_consume_connection(session, size);
    if (!stream || stream->dead_ || !stream->receiver()) {
      nghttp2_session_consume_stream(session, id, size);
      return 0;
    }
    stream->unconsumed_ += size;
    stream->receiver()->on_data({bytes, size}, false);
    if (stream->reading_ && !stream->dead_)
      nghttp2_session_consume_stream(session, id, std::exchange(stream->unconsumed_, 0));
    return 0;
  }
  static int frame_send(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    bool last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!last || (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)) return 0;
    if (StreamBase* stream = of(user).find(frame->hd.stream_id)) stream->output_ended();
    return 0;
  }
  static int stream_close(nghttp2_session*, int32_t id, uint32_t error_code, void* user) {
    Session& session = of(user);
    auto found = session.streams_.find(id);
    if (found == session.streams_.end()) return 0;
    std::unique_ptr<StreamBase> stream = std::move(found->second);
    session.streams_.erase(found);
    stream->dead_ = true;
    stream->closed(error_code);
    session.connection_.loop().destroy_later(std::move(stream));
    return 0;
  }
};

Session::Session(net::Connection& connection, bool server, const model::Http2Settings& settings)
    : connection_(connection) {
  nghttp2_session_callbacks* callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, Callbacks::begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Callbacks::frame_recv);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::data);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, Callbacks::frame_send);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Callbacks::stream_close);
  nghttp2_option* options;
  nghttp2_option_new(&options);
  nghttp2_option_set_no_auto_window_update(options, 1);
  nghttp2_option_set_max_outbound_ack(options, 1000);
  // Debian's default (1,000 and 33 a second) ends connections of gRPC clients that cancel a lot.
  nghttp2_option_set_stream_reset_rate_limit(options, 10000, 1000);
  if (server) {
    nghttp2_session_server_new2(&session_, callbacks, this, options);
  } else {
    nghttp2_session_client_new2(&session_, callbacks, this, options);
  }
  nghttp2_option_del(options);
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_settings_entry entries[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings.max_concurrent_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, settings.initial_stream_window},
      {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, settings.header_table_size},
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
  };
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, entries, server ? 3 : 4);
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<int32_t>(settings.initial_connection_window));
  flush_later();
}

Session::~Session() {
  // Streams that nghttp2 still knows are dropped silently: their owners have been told before.
  streams_.clear();
  nghttp2_session_del(session_);
}

StreamBase* Session::find(int32_t id) const {
  auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second.get();
}

void Session::add(std::unique_ptr<StreamBase> stream) {
  int32_t id = stream->id();
  streams_.emplace(id, std::move(stream));
}

bool Session::feed(Bytes data) {
  ssize_t used = nghttp2_session_mem_recv(session_, data.data(), data.size());
  flush_later();
  return used >= 0;
}

void Session::flush_later() {
  if (!linked()) connection_.loop().write_later(*this);
}

// Everything nghttp2 has to say, gathered; stops when the socket is behind, and goes on when it has caught up.
void Session::flush() {
  constexpr size_t kGather = 16 * 1024;
  uint8_t* memory = nullptr;
  size_t filled = 0;
  auto emit = [&] {
    if (filled > 0) connection_.write({memory, filled});
    memory = nullptr;
    filled = 0;
  };
  while (!connection_.write_blocked()) {
    const uint8_t* bytes = nullptr;
    ssize_t n = nghttp2_session_mem_send(session_, &bytes);
    if (n <= 0) break;
    auto size = static_cast<size_t>(n);
    if (filled + size > kGather) emit();
    if (!memory) memory = connection_.loop().turn_memory(std::max(kGather, size));
    if (!memory) {  // the turn's memory is used up: send at once
      connection_.write({bytes, size});
      connection_.flush();
      continue;
    }
    std::memcpy(memory + filled, bytes, size);
    filled += size;
    if (filled >= kGather) emit();
  }
  emit();
  if (!over_ && nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0) {
    over_ = true;
    on_over();
  }
}

nghttp2_data_provider Session::provider(StreamBase& stream) {
  nghttp2_data_provider provider;
  provider.source.ptr = &stream;
  provider.read_callback = [](nghttp2_session*, int32_t, uint8_t* to, size_t room, uint32_t* flags,
                              nghttp2_data_source* source, void* user) -> ssize_t {
    return Callbacks::of(user).read_body(*static_cast<StreamBase*>(source->ptr), to, room, flags);
  };
  return provider;
}

ssize_t Session::read_body(StreamBase& stream, uint8_t* to, size_t room, uint32_t* flags) {
  size_t copied = 0;
  while (copied < room && !stream.body_.empty()) {
    Bytes front = stream.body_.front();
    size_t n = std::min(front.size(), room - copied);
    std::memcpy(to + copied, front.data(), n);
    stream.body_.drain(n);
    copied += n;
  }
  if (stream.was_blocked_ && stream.body_.size() < StreamBase::kHighWatermark / 2) {
    stream.was_blocked_ = false;
    if (stream.receiver()) stream.receiver()->on_writable();
  }
  if (stream.body_.empty() && stream.end_) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (std::exchange(stream.has_trailers_, false)) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      std::vector<nghttp2_nv> fields;
      for (const auto& [name, value] : stream.trailers_) fields.push_back(field(name, value));
      nghttp2_submit_trailer(session_, stream.id(), fields.data(), fields.size());
    }
    return static_cast<ssize_t>(copied);
  }
  if (copied == 0) {
    stream.deferred_ = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  return static_cast<ssize_t>(copied);
}

void Session::resume_outputs() { flush_later(); }

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
      default: out.push_back(field(header.name, header.value));
    }
  }
}

}  // namespace pinnace::http::h2
