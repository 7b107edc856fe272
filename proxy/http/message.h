// RequestHead and ResponseHead: what a codec parses and what routing and filters read, the same for h1 and h2.
// LIFETIME: everything points into the stream's arena.
#pragma once

#include "proxy/http/header_map.h"

namespace pinnace::http {

enum class Protocol : uint8_t { kHttp10, kHttp11, kHttp2 };

inline std::string_view protocol_name(Protocol protocol) {
  switch (protocol) {
    case Protocol::kHttp10: return "HTTP/1.0";
    case Protocol::kHttp11: return "HTTP/1.1";
    case Protocol::kHttp2: return "HTTP/2";
  }
  return "-";
}

struct RequestHead {
  explicit RequestHead(base::Arena& arena) : headers(arena) {}

  // A request that asks for a tunnel is CONNECT, or has `upgrade`: the protocol it wants to switch to, such as
  // "websocket". HTTP/2's extended CONNECT (RFC 8441) reads here as the GET with Upgrade that HTTP/1.1 makes of it, and
  // its 200 as a 101.
  bool wants_tunnel() const { return !upgrade.empty() || method == "CONNECT"; }

  std::string_view method, path, authority, scheme;
  std::string_view upgrade;
  HeaderMap headers;
  Protocol protocol = Protocol::kHttp11;
};

struct ResponseHead {
  explicit ResponseHead(base::Arena& arena) : headers(arena) {}

  uint16_t status = 0;
  HeaderMap headers;
};

// The answer that opens the tunnel a request asked for.
inline bool opens_tunnel(bool upgrade, uint16_t status) {
  return upgrade ? status == 101 : status >= 200 && status < 300;
}

// A response that by its request or status has no body (RFC 9110 6.4.1).
inline bool bodiless(uint16_t status, bool to_head) {
  return to_head || status == 204 || status == 304 || (status >= 100 && status < 200);
}

}  // namespace pinnace::http
