#include "proxy/http/h2/stream.h"

#include <algorithm>

#include "proxy/http/h2/session.h"

namespace pinnace::http::h2 {

StreamBase::StreamBase(Session& session) : session_(session), body_(session.blocks()) {}

void StreamBase::resume() {
  if (std::exchange(deferred_, false)) nghttp2_session_resume_data(session_.native(), id_);
}

// Frames are made at once where that is allowed, so that most data is copied only into the frame.
void StreamBase::queue(Bytes data, bool end) {
  if (dead_) return;
  if (end) end_ = true;
  resume();
  session_.flush_later();
  if (body_.empty() && session_.can_pump()) {
    borrowed_ = data;
    session_.pump();
    data = std::exchange(borrowed_, {});
    if (dead_) return;  // that was the end of it
  }
  body_.append(data);
  if (!data.empty()) count_pending(static_cast<int64_t>(data.size()));
  if (output_blocked()) was_blocked_ = true;
}

// They go out when the body has. Copied: the sender's arena may be gone by then.
void StreamBase::queue_trailers(const HeaderMap& trailers) {
  if (dead_) return;
  trailers_.clear();
  for (const Header& header : trailers) trailers_.emplace_back(header.name, header.value);
  has_trailers_ = true;
  end_ = true;
  resume();
  session_.flush_later();
}

void StreamBase::stop(uint32_t error_code) {
  if (dead_) return;
  dead_ = true;  // body_ stays: a frame of it may be half made
  nghttp2_submit_rst_stream(session_.native(), NGHTTP2_FLAG_NONE, id_, error_code);
  session_.flush_later();
}

void StreamBase::allow_reading(bool on) {
  reading_ = on;
  if (!on || unconsumed_ == 0 || dead_) return;
  nghttp2_session_consume_stream(session_.native(), id_, std::exchange(unconsumed_, 0));
  session_.flush_later();
}

nghttp2_data_provider StreamBase::provider() {
  nghttp2_data_provider provider;
  provider.source.ptr = this;
  provider.read_callback = [](nghttp2_session*, int32_t, uint8_t*, size_t room, uint32_t* flags,
                              nghttp2_data_source* source,
                              void*) { return static_cast<StreamBase*>(source->ptr)->read_length(room, flags); };
  return provider;
}

// How much the next DATA frame takes; its bytes are taken by move_to().
ssize_t StreamBase::read_length(size_t room, uint32_t* flags) {
  size_t have = body_.size() + borrowed_.size();
  size_t n = std::min(have, room);
  if (n == have && end_) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (std::exchange(has_trailers_, false)) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      std::vector<nghttp2_nv> fields;
      fields.reserve(trailers_.size());
      for (const auto& [name, value] : trailers_) fields.push_back(field(name, value));
      nghttp2_submit_trailer(session_.native(), id_, fields.data(), fields.size());
    }
  } else if (n == 0) {
    deferred_ = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  return static_cast<ssize_t>(n);
}

void StreamBase::count_pending(int64_t more) { session_.cells().add(session_.stats().pending_send_bytes, more); }

void StreamBase::move_to(base::Chain& out, size_t size) {
  size_t pending = std::min(size, body_.size());
  if (pending > 0) count_pending(-static_cast<int64_t>(pending));
  while (size > 0 && !body_.empty()) {
    Bytes front = body_.front();
    size_t n = std::min(front.size(), size);
    out.append(front.first(n));
    body_.drain(n);
    size -= n;
  }
  if (size > 0) {
    out.append(borrowed_.first(size));
    borrowed_ = borrowed_.subspan(size);
  }
  if (was_blocked_ && body_.size() < kHighWatermark / 2) {
    was_blocked_ = false;
    session_.unblock_later(*this);
  }
}

}  // namespace pinnace::http::h2
