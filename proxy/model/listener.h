// ListenerConfig and FilterChain: a listener as workers see it, compiled from envoy.config.listener.v3.Listener.
// A connection pins its chain; chains with equal content are the same object across updates of their listener.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/base/address.h"
#include "proxy/model/tls.h"
#include "proxy/net/prologue.h"
#include "proxy/stats/cells.h"

namespace pinnace::access_log {
class Logger;
}
namespace pinnace::route {
class ChainIndex;
}
namespace pinnace::filter {
class NetworkFilterConfig;
class TcpObserverConfig;
}  // namespace pinnace::filter

namespace pinnace::model {

enum class TrafficDirection : uint8_t { kUnspecified, kInbound, kOutbound };

// Which connections a listener filter is skipped for (ListenerFilterChainMatchPredicate).
struct ListenerPredicate {
  enum class Kind : uint8_t { kAny, kOr, kAnd, kNot, kPortRange } kind = Kind::kAny;
  std::vector<ListenerPredicate> rules;
  uint16_t port_start = 0;
  uint32_t port_end = 0;  // exclusive

  bool matches(uint16_t destination_port) const {
    switch (kind) {
      case Kind::kAny: return true;
      case Kind::kPortRange: return destination_port >= port_start && destination_port < port_end;
      case Kind::kNot: return !rules[0].matches(destination_port);
      case Kind::kAnd:
        for (const auto& rule : rules) {
          if (!rule.matches(destination_port)) return false;
        }
        return true;
      case Kind::kOr:
        for (const auto& rule : rules) {
          if (rule.matches(destination_port)) return true;
        }
        return false;
    }
    return false;
  }
};

enum class ListenerFilterKind : uint8_t { kOriginalDst, kOriginalSrc, kTlsInspector, kHttpInspector, kProxyProtocol };

struct ListenerFilterConfig {
  ListenerFilterKind kind;
  std::optional<ListenerPredicate> disabled = std::nullopt;
  uint32_t mark = 0;             // original_src
  bool bind_port = false;        // likewise: the client's port too
  bool header_optional = false;  // proxy_protocol: allow_requests_without_proxy_protocol
};

struct FilterChainMatch {
  std::optional<uint16_t> destination_port;
  std::vector<base::Cidr> prefix_ranges;
  std::vector<std::string> server_names;
  std::string transport_protocol;
  std::vector<std::string> application_protocols;
  std::vector<base::Cidr> direct_source_ranges;
  enum class SourceType : uint8_t { kAny, kSameIpOrLoopback, kExternal } source_type = SourceType::kAny;
  std::vector<base::Cidr> source_ranges;
  std::vector<uint16_t> source_ports;
};

struct FilterChain {
  std::string name;
  FilterChainMatch match;
  std::optional<DownstreamTls> tls;
  uint64_t handshake_timeout_ms = 0;                                        // transport_socket_connect_timeout
  std::shared_ptr<const net::PrologueConfig> prologue;                      // istio.metadata_exchange, or nullptr
  std::vector<std::shared_ptr<const filter::TcpObserverConfig>> observers;  // istio.stats
  std::shared_ptr<const filter::NetworkFilterConfig> filter;                // the last one, which is terminal
  uint64_t content_hash = 0;
};

struct ListenerStats {
  stats::Counter cx_total, cx_destroy, cx_overflow, no_filter_chain_match, pre_cx_timeout, global_cx_overflow;
  stats::Gauge cx_active, pre_cx_active;
  stats::Counter ssl_connection_error, ssl_handshake, ssl_session_reused, ssl_fail_verify_error,
      ssl_fail_verify_no_cert, ssl_fail_verify_san;
};

struct ListenerConfig {
  std::string name;
  std::vector<base::Address> addresses;  // address, then additional_addresses
  bool bind_to_port = true;
  bool use_original_dst = false;
  bool transparent = false;
  bool ipv4_compat = false;
  bool reuse_port = true;
  bool exact_balance = false;
  bool ignore_connection_limit = false;
  uint32_t backlog = 4096;
  uint32_t accepts_per_event = 0;  // max_connections_to_accept_per_socket_event; 0: no limit
  uint32_t buffer_limit = 1024 * 1024;
  uint32_t pipe_mode = 0;
  TrafficDirection direction = TrafficDirection::kUnspecified;
  std::vector<ListenerFilterConfig> filters;
  uint64_t filters_timeout_ms = 15000;  // 0: none
  bool continue_on_timeout = false;
  bool drains_when_unhealthy = true;  // drain_type DEFAULT
  std::vector<std::shared_ptr<const FilterChain>> chains;
  std::shared_ptr<const FilterChain> default_chain;
  std::shared_ptr<const route::ChainIndex> index;
  std::vector<std::shared_ptr<const access_log::Logger>> access_logs;
  std::string istio_config;
  ListenerStats stats;
};

using ListenerPtr = std::shared_ptr<const ListenerConfig>;

}  // namespace pinnace::model
