// RFC 6455 4.2.2: what a server answers to Sec-WebSocket-Key. An HTTP/2 origin (RFC 8441 5) does not say it, but a
// client over HTTP/1.1 must hear it.
#pragma once

#include <string_view>

#include "proxy/base/arena.h"

namespace pinnace::tls {

// The Sec-WebSocket-Accept for a key, in the arena. Empty when the hash is not to be had (a FIPS provider without
// SHA-1).
std::string_view websocket_accept(std::string_view key, base::Arena& arena);

}  // namespace pinnace::tls
