// The listener filters that look at first bytes: tls_inspector and http_inspector. Sans-IO: peeked bytes in, facts out.
// They never consume. Bounded: after kMaxPeek bytes without an answer the connection is what it seems to be so far.
#pragma once

#include <string>
#include <vector>

#include "proxy/base/block_pool.h"

namespace pinnace::filters::listener {

enum class Inspection : uint8_t {
  kNeedMore,  // the bytes so far could still become it
  kYes,
  kNo,
};

inline constexpr size_t kMaxPeek = 64 * 1024;

struct TlsFacts {
  std::string server_name;        // SNI, lower case, as RFC 6066 host_name
  std::vector<std::string> alpn;  // RFC 7301, in the client's order
};

// A ClientHello (RFC 8446 4.1.2) in any split over TLS records. kNo: not TLS, or malformed.
Inspection inspect_tls(base::Bytes bytes, TlsFacts& facts);

// kYes sets `protocol` to "http/1.0", "http/1.1" or "h2c".
Inspection inspect_http(base::Bytes bytes, std::string& protocol);

}  // namespace pinnace::filters::listener
