// EndedStreams: the streams that a client ended last, read off the frames' heads (RFC 9113 4.1) as they come. What
// follows on one of them breaks the protocol (5.1, STREAM_CLOSED). nghttp2 could tell only if it kept every stream that
// closed, as many as there may be at once, which costs memory and cache; frames of streams that it has forgotten it
// skips. Older ones than kRemembered are forgotten here too. Pure. LIFETIME: one connection's.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "proxy/base/block_pool.h"

namespace pinnace::http::h2 {

class EndedStreams {
 public:
  static constexpr size_t kRemembered = 16;

  // How many of the connection's next bytes obey: all of them, or those before the head of a frame that may not be.
  size_t admit(base::Bytes data) {
    size_t at = 0;
    while (true) {
      size_t skipped = std::min<size_t>(skip_, data.size() - at);
      skip_ -= static_cast<uint32_t>(skipped);
      at += skipped;
      if (at == data.size()) return at;
      const uint8_t* head = data.data() + at;
      if (have_ > 0 || data.size() - at < kHead) {  // the head is in more than one read
        size_t more = std::min(kHead - have_, data.size() - at);
        std::memcpy(head_.data() + have_, head, more);
        have_ += more;
        at += more;
        if (have_ < kHead) return at;
        have_ = 0;
        head = head_.data();
      } else {
        at += kHead;
      }
      // The part of a split head that was admitted before is no frame without the rest.
      if (!read(head)) return at - std::min(at, kHead);
    }
  }

 private:
  static constexpr size_t kHead = 9, kPreface = 24;
  static constexpr uint32_t kLargest = 16384;  // RFC 9113 4.2: a larger frame is nghttp2's to refuse

  // False for a message's frame on a stream that ended.
  bool read(const uint8_t* head) {
    static constexpr uint8_t kData = 0, kHeaders = 1, kReset = 3, kEndStream = 1;
    skip_ = uint32_t{head[0]} << 16 | uint32_t{head[1]} << 8 | head[2];
    uint8_t type = head[3];
    if (skip_ > kLargest || (type != kData && type != kHeaders && type != kReset)) return true;
    uint32_t id = (uint32_t{head[5]} << 24 | uint32_t{head[6]} << 16 | uint32_t{head[7]} << 8 | head[8]) & 0x7fffffff;
    if (id == 0) return true;  // nghttp2 refuses it
    if (type != kReset) {
      if (id <= highest_ && std::find(last_.begin(), last_.end(), id) != last_.end()) return false;
      if ((head[4] & kEndStream) == 0) return true;
    }
    last_[next_++ % kRemembered] = id;
    highest_ = std::max(highest_, id);
    return true;
  }

  uint32_t skip_ = kPreface;  // until the next frame's head
  std::array<uint8_t, kHead> head_;
  size_t have_ = 0;  // of head_
  std::array<uint32_t, kRemembered> last_{};
  uint32_t next_ = 0;
  uint32_t highest_ = 0;
};

}  // namespace pinnace::http::h2
