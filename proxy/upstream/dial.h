// dial(): a connection to a host of a cluster as the cluster's configuration asks for: source address, keepalive,
// transport socket by endpoint metadata, limits and stats. The one place where pinnace opens upstream connections.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/net/connection.h"
#include "proxy/upstream/cluster.h"

namespace pinnace::upstream {

struct DialOptions {
  std::string_view sni = {};   // overrides the configured one when not empty (auto_sni)
  std::string_view alpn = {};  // overrides the configured list when not empty, joined by ","
  // The client that the connection is for alone, for the PROXY protocol; nullptr: it is for many, or for us.
  const base::Address* source = nullptr;
  const base::Address* destination = nullptr;
  const net::Source* from = nullptr;    // in the place of the cluster's bind_address
  std::string_view fallback_alpn = {};  // where neither `alpn` nor the cluster's TLS names any
};

// Never fails here: failures come by on_close(). REQUIRES: an endpoint of that configuration.
std::unique_ptr<net::Connection> dial(base::EventLoop& loop, const tls::ContextTable& tls,
                                      const model::ClusterConfig& config, const model::Endpoint& endpoint,
                                      const DialOptions& options);

}  // namespace pinnace::upstream
