// The PROXY protocol (haproxy's specification, versions 1 and 2): what a load balancer says before the client's first
// byte about who the client is. Sans-IO, both ways. Bounded: a header has at most kMaxProxyHeader bytes.
#pragma once

#include <string>

#include "proxy/base/address.h"
#include "proxy/base/block_pool.h"

namespace pinnace::filters::listener {

// 16 bytes, and the addresses and TLVs that fit one peek.
inline constexpr size_t kMaxProxyHeader = 16 * 1024;

enum class ProxyHeaderState : uint8_t {
  kNeedMore,
  kAbsent,  // these bytes begin no header
  kDone,
  kInvalid,  // a header that breaks the rules: the connection is refused
};

struct ProxyHeader {
  // LOCAL, UNKNOWN and UNSPEC say nothing about the client: the socket's own addresses stand.
  bool has_addresses = false;
  base::Address source, destination;
  int version = 0;
  size_t size = 0;  // bytes to take from the stream
};

ProxyHeaderState parse_proxy_header(base::Bytes bytes, ProxyHeader& header);

}  // namespace pinnace::filters::listener
