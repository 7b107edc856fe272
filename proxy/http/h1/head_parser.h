// Parses the head of an HTTP/1 message (RFC 9112) strictly: what two parsers could read in two ways is refused.
// Sans-IO and pure: mutable bytes in (names become lower case in place), views into them out.
// ERRORS: every refusal has a code and Envoy's response code detail.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/http/message.h"

namespace pinnace::http::h1 {

enum class HeadError : uint8_t {
  kNone,
  kMalformed,          // 400, or a broken response
  kBadTransferCoding,  // 501: a transfer coding other than chunked
  kHeadersTooMany,     // 431: more fields than max_headers_count
  kVersion,            // 400 or 505: not HTTP/1.0 or HTTP/1.1
};

enum class Framing : uint8_t { kNone, kLength, kChunked, kUntilClose };

// How the body after this head is delimited, and what becomes of the connection.
struct HeadInfo {
  Framing framing = Framing::kNone;
  uint64_t content_length = 0;
  bool keep_alive = true;
  bool expect_continue = false;
  bool http10 = false;
};

struct HeadResult {
  HeadError error = HeadError::kNone;
  const char* detail = "";
  HeadInfo info;
};

// Where the head ends: the offset just past its empty line, or 0 while that has not come. Line ends are CRLF; a bare LF
// ends a line too here, so that the parser sees it and refuses it. Looks only at what is new since `scanned`.
size_t find_head_end(std::string_view bytes, size_t& scanned);

// Whether a request may begin with `bytes`, of which more are to come: looks at the request line as far as it is there.
bool may_begin_request(std::string_view bytes);

// Envoy skips empty lines before a request line (RFC 9112 2.2).
size_t leading_empty_lines(std::string_view bytes);

struct HeadLimits {
  uint32_t max_headers = 100;
};

HeadResult parse_request(char* head, size_t size, const HeadLimits& limits, RequestHead& out);
// `to_head` and `to_connect` say which request this answers.
HeadResult parse_response(char* head, size_t size, const HeadLimits& limits, bool to_head, ResponseHead& out);
// The trailer section after the last chunk: field lines up to and with the empty line.
HeadResult parse_trailers(char* text, size_t size, const HeadLimits& limits, HeaderMap& out);

bool is_token(std::string_view text);
bool is_field_value(std::string_view text);

}  // namespace pinnace::http::h1
