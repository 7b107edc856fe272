#include "proxy/http/h1/body_reader.h"

namespace pinnace::http::h1 {
namespace {

int hex_digit(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

BodyReader::Event BodyReader::next(Bytes& in, Bytes& data) {
  switch (framing_) {
    case Framing::kNone: return Event::kDone;
    case Framing::kUntilClose:
      if (in.empty()) return Event::kNeedMore;
      data = in;
      in = {};
      return Event::kData;
    case Framing::kLength: {
      if (left_ == 0) return Event::kDone;
      if (in.empty()) return Event::kNeedMore;
      size_t n = in.size() < left_ ? in.size() : static_cast<size_t>(left_);
      data = in.first(n);
      in = in.subspan(n);
      left_ -= n;
      return Event::kData;
    }
    case Framing::kChunked: return next_chunked(in, data);
  }
  return Event::kError;
}

BodyReader::Event BodyReader::next_chunked(Bytes& in, Bytes& data) {
  while (!in.empty()) {
    if (state_ == State::kData) {
      size_t n = in.size() < left_ ? in.size() : static_cast<size_t>(left_);
      data = in.first(n);
      in = in.subspan(n);
      left_ -= n;
      if (left_ == 0) state_ = State::kDataCr;
      return Event::kData;
    }
    uint8_t c = in[0];
    in = in.subspan(1);
    switch (state_) {
      case State::kSize: {
        int digit = hex_digit(c);
        if (digit >= 0) {
          if (++digits_ > 15) return Event::kError;
          left_ = left_ * 16 + static_cast<uint64_t>(digit);
          break;
        }
        if (digits_ == 0) return Event::kError;
        if (c == '\r') state_ = State::kSizeLf;
        else if (c == ';') state_ = State::kExtension;
        else if (c == ' ' || c == '\t') state_ = State::kSizeSpace;  // ENVOY: takes space after the size
        else return Event::kError;
        break;
      }
      case State::kSizeSpace:
        if (c == '\r') state_ = State::kSizeLf;
        else if (c == ';') state_ = State::kExtension;
        else if (c != ' ' && c != '\t') return Event::kError;
        break;
      case State::kExtension:
        if (c == '\r') state_ = State::kSizeLf;
        else if (c == '\n' || (c < 0x20 && c != '\t') || c == 0x7f) return Event::kError;
        break;
      case State::kSizeLf:
        if (c != '\n') return Event::kError;
        state_ = left_ > 0 ? State::kData : State::kTrailer;
        line_ = 0;
        digits_ = 0;
        continue;
      case State::kDataCr:
        // UNLIKE ENVOY: data longer than its size ends the message; a chunk ends with CRLF (RFC 9112 7.1).
        if (c != '\r') return Event::kError;
        state_ = State::kDataLf;
        continue;
      case State::kDataLf:
        if (c != '\n') return Event::kError;
        state_ = State::kSize;
        continue;
      case State::kTrailer: {
        trailers_.push_back(static_cast<char>(c));
        if (trailers_.size() > kMaxTrailers) return Event::kError;
        if (c != '\n') continue;
        if (trailers_ == "\r\n") return Event::kDone;
        size_t n = trailers_.size();
        if (n >= 4 && trailers_.compare(n - 4, 4, "\r\n\r\n") == 0) return Event::kTrailers;
        if (n < 2 || trailers_[n - 2] != '\r') return Event::kError;
        continue;
      }
      case State::kData: break;
    }
    if (++line_ > kMaxSizeLine) return Event::kError;
  }
  return Event::kNeedMore;
}

}  // namespace pinnace::http::h1
