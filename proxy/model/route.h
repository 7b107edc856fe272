// RouteConfig: envoy.config.route.v3.RouteConfiguration compiled. Immutable. Matching it is route/match.h, which is
// pure.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "proxy/model/string_matcher.h"
#include "proxy/stats/cells.h"

namespace re2 {
class RE2;
}

namespace pinnace::model {

struct HeaderMatch {
  std::string name;  // lower case; may be a pseudo-header
  enum class Kind : uint8_t { kPresent, kString, kRange } kind = Kind::kPresent;
  bool present = true;
  StringMatcher matcher;
  int64_t range_start = 0, range_end = 0;
  bool invert = false;
  bool missing_is_empty = false;
};

struct QueryMatch {
  std::string name;
  std::optional<StringMatcher> matcher;  // absent: present_match
};

struct PathMatch {
  enum class Kind : uint8_t { kPrefix, kExact, kRegex, kSeparatedPrefix, kConnect } kind = Kind::kPrefix;
  std::string text;
  bool case_sensitive = true;
  std::shared_ptr<const re2::RE2> regex;
};

struct RouteMatch {
  PathMatch path;
  std::vector<HeaderMatch> headers;
  std::vector<QueryMatch> query;
  bool grpc_only = false;
  std::shared_ptr<const std::atomic<uint32_t>> runtime_fraction;  // of 1,000,000; nullptr: always
};

// retry_on as bits; names as in Envoy.
enum RetryOn : uint32_t {
  kRetry5xx = 1 << 0,
  kRetryGatewayError = 1 << 1,
  kRetryConnectFailure = 1 << 2,
  kRetryReset = 1 << 3,
  kRetryResetBeforeRequest = 1 << 4,
  kRetryRefusedStream = 1 << 5,
  kRetryRetriable4xx = 1 << 6,
  kRetryRetriableStatusCodes = 1 << 7,
  kRetryEnvoyRatelimited = 1 << 8,
  kRetryRetriableHeaders = 1 << 9,
  kRetryHttp3PostConnectFailure = 1 << 10,
  kRetryGrpcCancelled = 1 << 16,
  kRetryGrpcDeadlineExceeded = 1 << 17,
  kRetryGrpcInternal = 1 << 18,
  kRetryGrpcResourceExhausted = 1 << 19,
  kRetryGrpcUnavailable = 1 << 20,
};

struct RetryPolicy {
  uint32_t retry_on = 0;
  uint32_t num_retries = 1;
  uint64_t per_try_timeout_ms = 0;
  bool avoid_previous_hosts = false;
  uint32_t host_selection_attempts = 1;
  std::vector<uint32_t> retriable_status_codes;
  uint64_t back_off_base_ms = 25, back_off_max_ms = 250;
};

// upgrade_configs: the upgrade types, lower case, that are let through or not. CONNECT is "connect".
using UpgradeConfigs = std::vector<std::pair<std::string, bool>>;

struct WeightedCluster {
  uint32_t cluster_id = 0;
  std::string name;
  uint32_t weight = 0;
};

struct HeaderMutation {
  std::string name, value;
  enum class Action : uint8_t { kAppend, kAddIfAbsent, kOverwrite, kOverwriteIfExists } action = Action::kAppend;
};

struct HeaderMutations {
  std::vector<HeaderMutation> add;
  std::vector<std::string> remove;
  bool empty() const { return add.empty() && remove.empty(); }
};

struct RouteAction {
  std::vector<WeightedCluster> clusters;  // one with its whole weight, or several
  uint32_t total_weight = 0;
  std::string cluster_header;
  UpgradeConfigs upgrades;         // upgrade_configs; what is not named here is the connection manager's to say
  bool terminate_connect = false;  // connect_config: the tunnel's bytes go to the upstream without HTTP
  uint16_t cluster_not_found_code = 503;
  std::optional<std::string> prefix_rewrite;
  std::shared_ptr<const re2::RE2> regex_rewrite;
  std::string regex_substitution;
  std::string host_rewrite;
  bool auto_host_rewrite = false;
  bool append_forwarded_host = false;
  uint64_t timeout_ms = 15000;
  std::optional<uint64_t> idle_timeout_ms;
  std::optional<uint64_t> max_stream_duration_ms;  // max_stream_duration.max_stream_duration
  // grpc-timeout, as the deprecated max_grpc_timeout and as max_stream_duration.grpc_timeout_header_* bound it.
  std::optional<uint64_t> max_grpc_timeout_ms;  // 0: whatever the client says
  uint64_t grpc_timeout_offset_ms = 0;
  std::optional<uint64_t> grpc_timeout_header_max_ms;
  uint64_t grpc_timeout_header_offset_ms = 0;
  std::optional<RetryPolicy> retry;
};

struct RedirectAction {
  std::string host, path, prefix_rewrite, scheme;
  uint16_t port = 0;
  uint16_t code = 301;
  bool https = false;
  bool strip_query = false;
  bool has_prefix_rewrite = false;
};

struct DirectResponse {
  uint16_t status = 200;
  std::string body;
};

struct VirtualHost;

struct Route {
  std::string name;
  RouteMatch match;
  std::optional<RouteAction> action;
  std::optional<RedirectAction> redirect;
  std::optional<DirectResponse> direct;
  HeaderMutations request_headers, response_headers;
  std::string decorator;  // decorator.operation
  bool decorator_propagates = true;
  std::string istio_config;  // metadata.istio.config: the resource this came from
  const VirtualHost* virtual_host = nullptr;
};

struct RouteConfig;

struct VirtualHost {
  std::string name;
  const RouteConfig* config = nullptr;
  std::vector<std::string> domains;
  std::vector<Route> routes;
  enum class RequireTls : uint8_t { kNone, kExternalOnly, kAll } require_tls = RequireTls::kNone;
  bool include_attempt_count = false;
  bool include_attempt_count_in_response = false;
  HeaderMutations request_headers, response_headers;
  std::optional<RetryPolicy> retry;
};

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

struct RouteConfig {
  std::string name;
  std::vector<std::unique_ptr<VirtualHost>> virtual_hosts;
  bool ignore_port = false;
  HeaderMutations request_headers, response_headers;
  std::vector<std::string> internal_only_headers;

  // Indexes over virtual_hosts, lower case. Longest suffixes and prefixes first.
  std::unordered_map<std::string, const VirtualHost*, StringHash, std::equal_to<>> exact;
  std::vector<std::pair<std::string, const VirtualHost*>> suffixes;  // "*.foo.com" as ".foo.com"
  std::vector<std::pair<std::string, const VirtualHost*>> prefixes;  // "foo.*" as "foo."
  const VirtualHost* any = nullptr;
};

using RouteConfigPtr = std::shared_ptr<const RouteConfig>;

}  // namespace pinnace::model
