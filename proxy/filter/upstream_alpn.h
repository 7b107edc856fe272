// UpstreamAlpn: in FilterState, the application protocols that upstream TLS offers in the place of the cluster's own,
// by the protocol it is to speak. Left by istio.alpn, heeded by the router.
#pragma once

#include <array>
#include <string>

namespace pinnace::filter {

// By http::Protocol; names joined by ",", empty: the cluster's own.
using AlpnByProtocol = std::array<std::string, 3>;

struct UpstreamAlpn {
  const AlpnByProtocol* overrides = nullptr;
};

}  // namespace pinnace::filter
