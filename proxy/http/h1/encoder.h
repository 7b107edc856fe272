// Writes HTTP/1.1 heads and chunk framing into the loop's turn memory. What it is given was checked by a codec before;
// it still never writes a CR, LF or NUL inside a field (assertions in debug builds).
#pragma once

#include "proxy/base/event_loop.h"
#include "proxy/http/message.h"

namespace pinnace::http::h1 {

enum class BodyCoding : uint8_t { kAsIs, kChunked, kZeroLength };

// `close`: adds "connection: close". The result lives until the dispatch ends.
base::Bytes encode_response(base::EventLoop& loop, base::Arena& arena, const ResponseHead& head, BodyCoding coding,
                            bool close, bool http10_keep_alive);
// The response that opens a tunnel: 101 with `upgrade`, or the 2xx of a CONNECT with none.
base::Bytes encode_tunnel_response(base::EventLoop& loop, base::Arena& arena, const ResponseHead& head,
                                   std::string_view upgrade);
base::Bytes encode_request(base::EventLoop& loop, base::Arena& arena, const RequestHead& head, BodyCoding coding);
base::Bytes encode_fields(base::EventLoop& loop, base::Arena& arena, const HeaderMap& fields);
// "1f4\r\n"
base::Bytes encode_chunk_size(base::EventLoop& loop, base::Arena& arena, size_t size);

std::string_view reason_phrase(uint16_t status);

inline base::Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace pinnace::http::h1
