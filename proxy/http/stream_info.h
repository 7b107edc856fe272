// StreamInfo: the facts about one request or TCP connection that access logs and metrics read when it ends.
// THREAD: the stream's worker. LIFETIME: views point into the stream's arena or into pinned configuration.
#pragma once

#include <string>
#include <string_view>

#include "proxy/base/address.h"
#include "proxy/http/message.h"
#include "proxy/http/response_flags.h"
#include "proxy/model/ids.h"
#include "proxy/net/transport.h"

namespace pinnace::http {

struct StreamInfo {
  uint64_t start_wall_ns = 0, start_ns = 0, end_ns = 0;
  uint64_t request_end_ns = 0;                  // all of the request was there; 0: not yet
  uint64_t upstream_sent_ns = 0;                // the last attempt's request head was sent
  uint64_t response_start_ns = 0;               // its response head was there; 0: none came
  uint64_t bytes_received = 0, bytes_sent = 0;  // bodies only, as Envoy counts them
  uint16_t response_code = 0;
  Flags flags = 0;
  uint64_t flag_order = 0;    // one byte a flag, last set lowest: they are printed in the order they were set
  std::string_view protocol;  // %PROTOCOL%; empty for TCP
  std::string_view details;   // %RESPONSE_CODE_DETAILS%
  std::string_view termination_details;  // %CONNECTION_TERMINATION_DETAILS%
  std::string_view upstream_failure;     // %UPSTREAM_TRANSPORT_FAILURE_REASON%
  uint32_t attempts = 0;

  // Downstream.
  const base::Address* local_address = nullptr;
  const base::Address* direct_remote_address = nullptr;
  base::Address remote_address;  // after x-forwarded-for was considered
  const net::TlsInfo* tls = nullptr;
  std::string_view requested_server_name;  // SNI as the inspector saw it

  // Upstream.
  std::string_view upstream_host;                    // address and port
  std::string_view cluster_name, cluster_stat_name;  // the latter: alt_stat_name, once the cluster is known
  std::string_view upstream_protocol;                // of the last attempt; empty for TCP
  uint32_t cluster_id = model::kNoId;                // once the cluster is chosen and known
  base::Address upstream_local_address;
  std::string_view route_name;
  std::string_view upstream_workload;                                  // its endpoint's metadata.istio.workload
  std::string_view upstream_peer_principal, upstream_local_principal;  // the first URI SANs of its mTLS

  bool has(Flag flag) const { return (flags & flag_bit(flag)) != 0; }
  void set(Flag flag) {
    if (has(flag)) return;
    flags |= flag_bit(flag);
    flag_order = flag_order << 8 | (static_cast<uint64_t>(flag) + 1);
  }
};

}  // namespace pinnace::http
