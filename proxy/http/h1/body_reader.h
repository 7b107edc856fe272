// BodyReader: takes a message body apart (RFC 9112 6 and 7). Sans-IO: bytes in, parts of the body out, chunk framing
// and trailers consumed. Bounded: a chunk size line and its extensions, and the trailer section, have limits.
#pragma once

#include <string>

#include "proxy/base/block_pool.h"
#include "proxy/http/h1/head_parser.h"

namespace pinnace::http::h1 {

using base::Bytes;

class BodyReader {
 public:
  enum class Event : uint8_t {
    kNeedMore,  // all input used
    kData,      // `data` is part of the body; call again
    kDone,      // the message ends here; unused input stays in `in`
    kTrailers,  // the same, and trailers() holds field lines
    kError,     // the framing is broken
  };

  void start(const HeadInfo& info) {
    framing_ = info.framing;
    left_ = info.content_length;
    state_ = State::kSize;
    line_ = 0;
    digits_ = 0;
    trailers_.clear();
  }
  Event next(Bytes& in, Bytes& data);
  // With Framing::kLength the bytes still to come.
  uint64_t left() const { return left_; }
  Framing framing() const { return framing_; }
  // The raw trailer section with its empty line, for parse_trailers().
  std::string& trailers() { return trailers_; }

 private:
  enum class State : uint8_t { kSize, kSizeSpace, kExtension, kSizeLf, kData, kDataCr, kDataLf, kTrailer };
  static constexpr uint32_t kMaxSizeLine = 4096;
  static constexpr size_t kMaxTrailers = 60 * 1024;

  Event next_chunked(Bytes& in, Bytes& data);

  Framing framing_ = Framing::kNone;
  State state_ = State::kSize;
  uint8_t digits_ = 0;
  uint32_t line_ = 0;  // bytes of this chunk-size line
  uint64_t left_ = 0;
  std::string trailers_;
};

}  // namespace pinnace::http::h1
