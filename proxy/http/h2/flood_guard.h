// FloodGuard: counts the frames a peer may send in excess of its work (Http2ProtocolOptions.max_inbound_*). The
// formulas are Envoy's: each allowance grows with the streams opened and the data sent. Pure. LIFETIME: one
// connection's.
#pragma once

#include <cstddef>

#include "proxy/model/http2.h"

namespace pinnace::http::h2 {

class FloodGuard {
 public:
  // `max_continuations`: of one head.
  FloodGuard(const model::Http2Settings& settings, size_t max_continuations)
      : settings_(settings), max_continuations_(max_continuations) {}

  void stream_opened() { streams_++; }
  void data_sent() { data_frames_++; }

  // nullptr, or the detail of the limit that this frame breaks. Frame numbers of RFC 9113 6.
  const char* frame_received(uint8_t type, uint8_t flags, size_t length) {
    static constexpr uint8_t kData = 0, kHeaders = 1, kPriority = 2, kWindowUpdate = 8, kContinuation = 9;
    static constexpr uint8_t kEndStream = 1;
    continuations_ = type == kContinuation ? continuations_ + 1 : 0;
    if (continuations_ > max_continuations_) return "http2.too_many_headers";  // CVE-2024-27316
    switch (type) {
      case kData:
      case kHeaders:
      case kContinuation:
        if (length > 0 || (flags & kEndStream) != 0) {
          empty_ = 0;
        } else if (++empty_ > settings_.max_empty_frames) {
          return "http2.inbound_empty_frames_flood";
        }
        return nullptr;
      case kPriority:
        if (++priorities_ > settings_.max_priority_frames_per_stream * (1 + streams_)) {
          return "http2.inbound_priority_frames_flood";
        }
        return nullptr;
      case kWindowUpdate:
        if (++window_updates_ > 5 + 2 * (streams_ + settings_.max_window_updates_per_data_frame * data_frames_)) {
          return "http2.inbound_window_update_frames_flood";
        }
        return nullptr;
      default: return nullptr;
    }
  }

 private:
  const model::Http2Settings& settings_;
  const size_t max_continuations_;
  size_t continuations_ = 0;
  uint64_t streams_ = 0, data_frames_ = 0;
  uint64_t priorities_ = 0, window_updates_ = 0;
  uint32_t empty_ = 0;
};

}  // namespace pinnace::http::h2
