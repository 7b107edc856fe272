// ClusterConfig and EndpointSet: a cluster as workers see it, compiled from envoy.config.cluster.v3.Cluster and
// ClusterLoadAssignment. Immutable and shared by all workers; what lives longer (pools, counters) is upstream::Cluster.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/base/address.h"
#include "proxy/model/http1.h"
#include "proxy/model/http2.h"
#include "proxy/model/tls.h"
#include "proxy/net/prologue.h"
#include "proxy/net/socket.h"
#include "proxy/stats/store.h"

namespace pinnace::model {

enum class ClusterType : uint8_t { kStatic, kEds, kStrictDns, kLogicalDns, kOriginalDst };
enum class LbPolicy : uint8_t { kRoundRobin, kRandom, kLeastRequest, kClusterProvided };

// HttpProtocolOptions: which protocol to speak to the endpoints.
enum class UpstreamProtocol : uint8_t { kHttp1, kHttp2, kUseDownstream, kAuto };

struct CircuitBreakers {
  static constexpr uint32_t kUnlimited = 0xffffffff;
  uint32_t max_connections = 1024, max_pending = 1024, max_requests = 1024, max_retries = 3;
};

// Endpoint metadata that selects a transport socket: filter_metadata["envoy.transport_socket_match"], flat strings.
using MatchLabels = std::vector<std::pair<std::string, std::string>>;

// upstream_proxy_protocol: what the endpoint is told before anything else.
enum class ProxyProtocol : uint8_t { kNone, kV1, kV2 };

struct TransportSocket {
  std::string name;                        // transport_socket_matches[].name
  MatchLabels match;                       // empty: matches every endpoint
  std::shared_ptr<const UpstreamTls> tls;  // nullptr: raw_buffer
  ProxyProtocol proxy_protocol = ProxyProtocol::kNone;
};

struct ClusterStats {
  stats::Store* store = nullptr;  // for names that are known only on the request path: response codes
  std::string prefix;             // "cluster.<stat_name>."
  stats::Counter cx_total, cx_http1_total, cx_http2_total, cx_connect_fail, cx_connect_timeout, cx_overflow, cx_destroy,
      cx_destroy_local_with_rq, cx_destroy_remote_with_rq, cx_none_healthy, cx_rx_bytes, cx_tx_bytes, cx_idle_timeout,
      cx_max_requests, cx_max_duration;
  stats::Gauge cx_active, rq_active, rq_pending_active;
  stats::Counter rq_total, rq_timeout, rq_per_try_timeout, rq_retry, rq_retry_success, rq_retry_overflow,
      rq_retry_limit_exceeded, rq_pending_total, rq_pending_overflow, rq_pending_failure, rq_cancelled, rq_rx_reset,
      rq_tx_reset, rq_maintenance;
  stats::Histogram rq_time, cx_connect_ms;
  stats::Counter lb_healthy_panic, ssl_handshake, ssl_session_reused, ssl_fail_verify_san, ssl_connection_error;
  stats::Counter original_dst_host_invalid;
};

struct Endpoint {
  base::Address address;
  std::string hostname;
  std::string text;  // address.text(), for logs and headers
  uint32_t weight = 1;
  bool healthy = true;
  uint32_t priority = 0;
  MatchLabels socket_labels;
  std::string workload;  // filter_metadata.istio.workload
  // Index into ClusterConfig::sockets, chosen when the set is compiled: the first whose match is a subset of the
  // labels.
  uint32_t socket = 0;
};

struct EndpointSet {
  std::vector<std::shared_ptr<const Endpoint>> endpoints;
  uint32_t overprovisioning_percent = 140;  // policy.overprovisioning_factor
};

// What all workers share of one cluster: the counts that finite circuit breakers compare. Kept by name across updates;
// touched only where a limit is finite.
struct BreakerCounts {
  std::atomic<uint32_t> connections{0}, pending{0}, requests{0}, retries{0};
};

// A cluster's metadata.istio, as far as filters read it.
struct IstioCluster {
  struct Service {
    std::string host, name, namespace_name;
  };
  std::optional<Service> service;  // services[0]
  bool external = false;           // outside the mesh
  bool disable_mx = false;         // its endpoints are not told who we are
  bool no_alpn_override = false;   // alpn_override: "false"
};

struct ClusterConfig {
  uint32_t id = 0;
  std::string name;
  std::string stat_name;  // alt_stat_name or name
  ClusterType type = ClusterType::kStatic;
  LbPolicy lb = LbPolicy::kRoundRobin;
  uint32_t least_request_choices = 2;
  uint64_t connect_timeout_ms = 5000;
  uint32_t buffer_limit = 1024 * 1024;
  uint32_t healthy_panic_percent = 50;
  UpstreamProtocol protocol = UpstreamProtocol::kHttp1;
  Http2Settings http2;
  uint64_t idle_timeout_ms = 3600 * 1000;
  uint64_t max_requests_per_connection = 0;
  uint64_t max_connection_duration_ms = 0;  // then it takes no more requests; 0: no limit
  uint32_t max_response_head_bytes = 60 * 1024;
  uint32_t max_response_headers = 100;
  Http1Options http1;
  CircuitBreakers breakers;
  std::vector<TransportSocket> sockets;       // transport_socket_matches in order, then the default one
  std::vector<base::Address> bind_addresses;  // upstream_bind_config: source_address, then the extra ones
  std::optional<net::Keepalive> keepalive;
  std::shared_ptr<const net::PrologueConfig> prologue;  // cluster.filters' istio.metadata_exchange, or nullptr
  uint64_t cleanup_interval_ms = 5000;                  // ORIGINAL_DST: unused hosts
  std::optional<uint16_t> original_dst_port;
  std::string istio_config;  // metadata.istio.config: the resource this came from
  IstioCluster istio;
  std::shared_ptr<BreakerCounts> counts = std::make_shared<BreakerCounts>();
  ClusterStats stats;
  // Two configurations with the same hash are the same: pools and host state stay.
  uint64_t content_hash = 0;
};

using ClusterPtr = std::shared_ptr<const ClusterConfig>;
using EndpointsPtr = std::shared_ptr<const EndpointSet>;

}  // namespace pinnace::model
