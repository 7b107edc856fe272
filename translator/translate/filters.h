// The filters that every listener is made of: access log, HttpConnectionManager, tcp_proxy, listener filters.
// Istio's own (metadata exchange, stats, alpn) are not emitted yet.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "envoy/config/listener/v3/listener.pb.h"
#include "envoy/config/route/v3/route.pb.h"
#include "translator/translate/mesh_state.h"

namespace pinnace::translator {

using Listener = envoy::config::listener::v3::Listener;
using FilterChain = envoy::config::listener::v3::FilterChain;

// Listener.access_log: only connections that no chain took (NR).
void add_listener_access_log(const MeshConfig& config, Listener* listener);

enum class HttpRole { kOutbound, kInbound, kGateway };
struct HttpOptions {
  HttpRole role = HttpRole::kOutbound;
  std::string stat_prefix;
  std::string rds;                                                              // route name, or
  const envoy::config::route::v3::RouteConfiguration* inline_routes = nullptr;  // inbound
  bool http2 = false;                                                           // the service says so
  bool grpc_web = false;                                                        // clients may speak it
};
void add_http_manager(const MeshConfig& config, const HttpOptions& options, FilterChain* chain);

struct WeightedName {
  std::string cluster;
  uint32_t weight = 0;
};
struct TcpOptions {
  std::string stat_prefix;
  std::vector<WeightedName> clusters;  // one: plain
  bool log = true;
  std::optional<Duration> idle_timeout;
};
void add_tcp_proxy(const MeshConfig& config, const TcpOptions& options, FilterChain* chain);
void add_tcp_proxy(const MeshConfig& config, const std::string& cluster, FilterChain* chain);

void add_original_dst(Listener* listener);
envoy::config::listener::v3::ListenerFilter* add_tls_inspector(Listener* listener);
envoy::config::listener::v3::ListenerFilter* add_http_inspector(Listener* listener);

// FilterChain.transport_socket_connect_timeout of outbound and gateway chains.
void set_handshake_limit(FilterChain* chain);

}  // namespace pinnace::translator
