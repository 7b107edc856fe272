// The TLS contexts of the mesh: Istio mTLS both ways, origination to the outside, and what gateways terminate.
// envoy.extensions.transport_sockets.tls.v3.{Upstream,Downstream}TlsContext.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "envoy/config/core/v3/base.pb.h"
#include "translator/fetch/resources.h"

namespace pinnace::translator {

using TransportSocket = envoy::config::core::v3::TransportSocket;

// Workload certificate, mesh root, exact SANs.
void set_istio_upstream_tls(TransportSocket* socket, const std::vector<std::string>& sans, std::string_view sni,
                            bool http2);
// DestinationRule tls SIMPLE and MUTUAL. `fallback_sans` are those of the ServiceEntry.
void set_origination_tls(TransportSocket* socket, const ClientTls& tls, const std::vector<std::string>& fallback_sans,
                         bool http2);
// What stands before a workload's port. `http`: ALPN of an HTTP chain rather than of a TCP one.
void set_inbound_tls(TransportSocket* socket, std::string_view trust_domain, bool http);
// A Gateway server that terminates TLS. REQUIRES: the mode is not PASSTHROUGH.
void set_gateway_tls(TransportSocket* socket, const ServerTls& tls, bool http);

}  // namespace pinnace::translator
