// What a proxy needs to know of gRPC over HTTP/2: which requests and answers are gRPC's, their method, their deadline,
// where messages begin, and the status of an answer made here. Pure.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

#include "proxy/http/message.h"

namespace pinnace::http {

// application/grpc, and with a "+proto" or other suffix; gRPC-Web is another type.
inline bool is_grpc_type(std::string_view content_type) {
  return content_type.substr(0, 16) == "application/grpc" && (content_type.size() == 16 || content_type[16] == '+');
}

// A whole gRPC answer in its head (trailers-only), or the beginning of one.
inline bool is_grpc_response(const ResponseHead& head, bool end_stream) {
  if (end_stream) return head.headers.has(HeaderId::kGrpcStatus);
  return head.status == 200 && is_grpc_type(head.headers.get(HeaderId::kContentType));
}

// "/service/method", with whatever slashes and a query.
struct GrpcMethod {
  std::string_view service, method;
};
std::optional<GrpcMethod> grpc_method(std::string_view path);

// grpc-message for a text: "Percent-Byte" of the gRPC over HTTP/2 specification.
std::string_view grpc_message(std::string_view text, base::Arena& arena);

// Follows a body of length-prefixed messages, however it is cut.
class GrpcFrames {
 public:
  // Takes bytes up to the end of the message they belong to; returns how many. REQUIRES: there are some.
  size_t take(base::Bytes data) {
    size_t n = 0;
    for (; seen_ < kPrefix && n < data.size(); seen_++, n++) {
      if (seen_ > 0) left_ = left_ << 8 | data[n];
    }
    if (seen_ < kPrefix) return n;
    size_t body = std::min<size_t>(left_, data.size() - n);
    left_ -= static_cast<uint32_t>(body);
    if (left_ == 0) seen_ = 0;
    return n + body;
  }
  bool between() const { return seen_ == 0; }
  // How many messages begin in `data`.
  uint32_t count(base::Bytes data) {
    uint32_t begun = 0;
    while (!data.empty()) {
      if (between()) begun++;
      data = data.subspan(take(data));
    }
    return begun;
  }

 private:
  static constexpr uint8_t kPrefix = 5;  // a flag byte and the length

  uint32_t left_ = 0;
  uint8_t seen_ = 0;  // of the prefix
};

// grpc-timeout in milliseconds, rounded up; nullopt where it is absent or malformed. At most 8 digits, so no overflow
// (CVE-2021-28682).
inline std::optional<uint64_t> grpc_timeout_ms(std::string_view text) {
  if (text.size() < 2 || text.size() > 9) return {};
  uint64_t value = 0;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size() - 1, value);
  if (failed != std::errc() || end != text.data() + text.size() - 1) return {};
  switch (text.back()) {
    case 'H': return value * 3600000;
    case 'M': return value * 60000;
    case 'S': return value * 1000;
    case 'm': return value;
    case 'u': return (value + 999) / 1000;
    case 'n': return (value + 999999) / 1000000;
    default: return {};
  }
}

// The same the other way round; at least 20 characters.
inline std::string_view grpc_timeout_text(uint64_t ms, char* out) {
  static constexpr uint64_t kMost = 99999999;  // 8 digits
  char unit = 'm';
  if (ms > kMost) ms = (ms + 999) / 1000, unit = 'S';
  if (ms > kMost) ms = kMost;
  char* end = std::to_chars(out, out + 20, ms).ptr;
  *end++ = unit;
  return {out, static_cast<size_t>(end - out)};
}

// ENVOY: the gRPC status for the HTTP status of an answer made here.
inline uint8_t grpc_status_for(uint16_t http_status) {
  switch (http_status) {
    case 400: return 13;
    case 401: return 16;
    case 403: return 7;
    case 404: return 12;
    case 429:
    case 502:
    case 503:
    case 504: return 14;
    default: return 2;
  }
}

}  // namespace pinnace::http
