// HcmConfig: HttpConnectionManager compiled once per filter chain; immutable and shared by all workers.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/access_log/logger.h"
#include "proxy/filter/http_filter.h"
#include "proxy/filter/network_filter.h"
#include "proxy/http/h1/server_codec.h"
#include "proxy/http/h2/codec_stats.h"
#include "proxy/http/path.h"
#include "proxy/model/ids.h"
#include "proxy/model/route.h"

namespace pinnace::filters::hcm {

enum class CodecType : uint8_t { kAuto, kHttp1, kHttp2 };
enum class ServerHeader : uint8_t { kOverwrite, kAppendIfAbsent, kPassThrough };
enum class ForwardClientCert : uint8_t { kSanitize, kForwardOnly, kAppendForward, kSanitizeSet, kAlwaysForwardOnly };

struct HcmStats {
  stats::Counter cx_total, cx_http1_total, cx_http2_total, cx_ssl_total, cx_destroy, cx_destroy_remote,
      cx_destroy_local, cx_protocol_error, cx_idle_timeout, cx_drain_close, cx_max_duration_reached, cx_upgrades_total,
      cx_rx_bytes, cx_tx_bytes;
  stats::Gauge cx_active, cx_ssl_active, cx_upgrades_active, rq_active;
  stats::Counter rq_total, rq_http1_total, rq_http2_total, rq_completed, rq_rx_reset, rq_tx_reset, rq_timeout,
      rq_header_timeout, rq_idle_timeout, rq_too_large, rq_non_relative_path, no_route, no_cluster, rq_direct_response,
      rq_redirect, rq_too_many_premature_resets, rq_ws_on_non_ws_route, rq_underscores_rejected, underscores_dropped;
  stats::Counter rq_code_class[6];
  stats::Histogram rq_time;
};

struct Settings {
  std::string stat_prefix;
  CodecType codec = CodecType::kAuto;
  http::h1::ServerSettings h1;
  model::Http2Settings h2;
  http::h2::CodecStats h2_stats;
  bool accept_http10 = false;
  std::string default_host_http10;

  model::RouteConfigPtr inline_routes;  // route_config
  uint32_t rds_id = model::kNoId;       // rds.route_config_name
  model::RouteRef rds;

  std::vector<std::shared_ptr<const filter::HttpFilterConfig>> filters;
  std::vector<model::ExtensionPlace> places;  // of those that come by ECDS
  access_log::Loggers access_logs;

  std::string server_name = "envoy";
  ServerHeader server_header = ServerHeader::kOverwrite;
  bool use_remote_address = false;
  uint32_t xff_trusted_hops = 0;
  bool skip_xff_append = false;
  std::string local_ip;  // what clients on this machine are told by
  bool append_forwarded_port = false;
  std::vector<base::Cidr> internal_ranges;  // internal_address_config.cidr_ranges; empty: nobody is internal
  std::string via;
  bool tracing = false;  // it is configured, with or without a provider
  bool egress = false;   // of a listener with traffic_direction OUTBOUND
  // tracing with use_request_id_for_trace_sampling: the digit of x-request-id that says why a request is traced. Of
  // 10,000.
  bool marks_request_id = false, packs_trace_reason = true;
  uint32_t client_sampling = 10000, random_sampling = 10000, overall_sampling = 10000;
  bool generate_request_id = true;
  bool preserve_external_request_id = false;
  bool respond_with_request_id = false;
  ForwardClientCert client_cert = ForwardClientCert::kSanitize;
  bool cert_subject = false, cert_pem = false, cert_chain = false, cert_dns = false, cert_uri = false;
  http::PathOptions path;
  bool proxy_100_continue = false;
  model::UpgradeConfigs upgrades;
  // common_http_protocol_options.headers_with_underscores_action
  enum class Underscores : uint8_t { kAllow, kReject, kDrop } underscores = Underscores::kAllow;

  uint64_t idle_timeout_ms = 3600 * 1000;        // common_http_protocol_options.idle_timeout
  uint64_t max_connection_ms = 0;                // max_connection_duration
  uint64_t max_stream_ms = 0;                    // max_stream_duration
  uint64_t stream_idle_timeout_ms = 300 * 1000;  // stream_idle_timeout
  uint64_t request_timeout_ms = 0;
  uint64_t request_headers_timeout_ms = 0;
  uint64_t drain_timeout_ms = 5000;
  uint64_t delayed_close_ms = 1000;
  uint64_t max_requests_per_connection = 0;
  // ENVOY: runtime overload.premature_reset_*: a client that resets this many requests, half of all, before they are
  // answered and within that time loses its connection (CVE-2023-44487, CVE-2025-8671).
  uint64_t premature_resets = 500;
  uint64_t premature_reset_s = 1;
  HcmStats stats;
};

class HcmConfig final : public filter::NetworkFilterConfig {
 public:
  explicit HcmConfig(Settings settings) : settings_(std::move(settings)) {
    bytes_ = {settings_.stats.cx_rx_bytes, settings_.stats.cx_tx_bytes};
  }
  std::unique_ptr<filter::Session> create(filter::WorkerContext& worker, filter::Accepted&& accepted) const override;
  void route_dependencies(std::vector<model::RouteRef>& out) const override {
    if (!settings_.rds.resource.name.empty()) out.push_back(settings_.rds);
  }
  void extension_places(std::vector<model::ExtensionPlace>& out) const override {
    out.insert(out.end(), settings_.places.begin(), settings_.places.end());
  }
  bool wants_peer_certificate() const override { return settings_.cert_pem || settings_.cert_chain; }
  const Settings& settings() const { return settings_; }
  const net::ByteStats& bytes() const { return bytes_; }

 private:
  Settings settings_;
  net::ByteStats bytes_;
};

}  // namespace pinnace::filters::hcm
