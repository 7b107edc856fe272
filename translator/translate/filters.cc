#include "translator/translate/filters.h"

#include "envoy/config/accesslog/v3/accesslog.pb.h"
#include "envoy/extensions/access_loggers/file/v3/file.pb.h"
#include "envoy/extensions/filters/http/cors/v3/cors.pb.h"
#include "envoy/extensions/filters/http/fault/v3/fault.pb.h"
#include "envoy/extensions/filters/http/grpc_stats/v3/config.pb.h"
#include "envoy/extensions/filters/http/grpc_web/v3/grpc_web.pb.h"
#include "envoy/extensions/filters/http/router/v3/router.pb.h"
#include "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.pb.h"
#include "envoy/extensions/filters/listener/original_dst/v3/original_dst.pb.h"
#include "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.pb.h"
#include "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.pb.h"
#include "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.pb.h"
#include "envoy/extensions/request_id/uuid/v3/uuid.pb.h"
#include "translator/translate/proto.h"

namespace pinnace::translator {
namespace {

namespace hcm3 = envoy::extensions::filters::network::http_connection_manager::v3;
using envoy::config::accesslog::v3::AccessLog;

constexpr char kDefaultFormat[] =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% "
    "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" "
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" "
    "\"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% "
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% "
    "%ROUTE_NAME%\n";

void set_access_log(const MeshConfig& config, AccessLog* log) {
  envoy::extensions::access_loggers::file::v3::FileAccessLog file;
  file.set_path(config.access_log_file);
  file.mutable_log_format()->mutable_text_format_source()->set_inline_string(
      config.access_log_format.empty() ? kDefaultFormat : config.access_log_format);
  log->set_name("envoy.access_loggers.file");
  pack(file, log->mutable_typed_config());
}

template <class Filters>
void add_filter(Filters* filters, const char* name, const google::protobuf::Message& config) {
  auto* filter = filters->Add();
  filter->set_name(name);
  pack(config, filter->mutable_typed_config());
}

}  // namespace

void add_listener_access_log(const MeshConfig& config, Listener* listener) {
  if (config.access_log_file.empty()) return;
  auto* log = listener->add_access_log();
  set_access_log(config, log);
  log->mutable_filter()->mutable_response_flag_filter()->add_flags("NR");
}

void add_http_manager(const MeshConfig& config, const HttpOptions& options, FilterChain* chain) {
  hcm3::HttpConnectionManager hcm;
  hcm.set_stat_prefix(options.stat_prefix + ";");
  if (options.inline_routes) {
    *hcm.mutable_route_config() = *options.inline_routes;
  } else {
    hcm.mutable_rds()->set_route_config_name(options.rds);
    set_ads(hcm.mutable_rds()->mutable_config_source());
  }
  envoy::extensions::filters::http::grpc_stats::v3::FilterConfig grpc;
  grpc.set_emit_filter_state(true);
  grpc.mutable_stats_for_all_methods()->set_value(false);
  auto* filters = hcm.mutable_http_filters();
  if (options.grpc_web)
    add_filter(filters, "envoy.filters.http.grpc_web", envoy::extensions::filters::http::grpc_web::v3::GrpcWeb());
  add_filter(filters, "envoy.filters.http.grpc_stats", grpc);
  add_filter(filters, "envoy.filters.http.fault", envoy::extensions::filters::http::fault::v3::HTTPFault());
  add_filter(filters, "envoy.filters.http.cors", envoy::extensions::filters::http::cors::v3::Cors());
  add_filter(filters, "envoy.filters.http.router", envoy::extensions::filters::http::router::v3::Router());
  hcm.mutable_stream_idle_timeout();
  if (!config.access_log_file.empty()) set_access_log(config, hcm.add_access_log());
  bool gateway = options.role == HttpRole::kGateway;
  hcm.mutable_use_remote_address()->set_value(gateway);
  // A sidecar's outbound side is not the server its client speaks to: it leaves the name alone.
  if (options.role != HttpRole::kOutbound) {
    hcm.set_server_name("istio-envoy");
    hcm.set_forward_client_cert_details(gateway ? hcm3::HttpConnectionManager::SANITIZE_SET
                                                : hcm3::HttpConnectionManager::APPEND_FORWARD);
    auto* details = hcm.mutable_set_current_client_cert_details();
    details->mutable_subject()->set_value(true);
    details->set_cert(gateway);
    details->set_dns(true);
    details->set_uri(true);
  }
  if (gateway) hcm.mutable_http_protocol_options();
  if (options.http2) hcm.mutable_http2_protocol_options();
  hcm.set_proxy_100_continue(true);
  hcm.add_upgrade_configs()->set_upgrade_type("websocket");
  hcm.mutable_normalize_path()->set_value(true);
  hcm.set_path_with_escaped_slashes_action(hcm3::HttpConnectionManager::KEEP_UNCHANGED);
  envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig uuid;
  uuid.mutable_use_request_id_for_trace_sampling()->set_value(true);
  pack(uuid, hcm.mutable_request_id_extension()->mutable_typed_config());
  add_filter(chain->mutable_filters(), "envoy.filters.network.http_connection_manager", hcm);
}

void add_tcp_proxy(const MeshConfig& config, const TcpOptions& options, FilterChain* chain) {
  envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy proxy;
  proxy.set_stat_prefix(options.stat_prefix);
  if (options.clusters.size() == 1) {
    proxy.set_cluster(options.clusters[0].cluster);
  } else {
    for (auto& one : options.clusters) {
      if (one.weight == 0) continue;
      auto* cluster = proxy.mutable_weighted_clusters()->add_clusters();
      cluster->set_name(one.cluster);
      cluster->set_weight(one.weight);
    }
  }
  if (options.idle_timeout) set_duration(proxy.mutable_idle_timeout(), *options.idle_timeout);
  if (options.log && !config.access_log_file.empty()) set_access_log(config, proxy.add_access_log());
  add_filter(chain->mutable_filters(), "envoy.filters.network.tcp_proxy", proxy);
}

void add_tcp_proxy(const MeshConfig& config, const std::string& cluster, FilterChain* chain) {
  add_tcp_proxy(config, TcpOptions{cluster, {{cluster, 0}}, true, std::nullopt}, chain);
}

void add_original_dst(Listener* listener) {
  add_filter(listener->mutable_listener_filters(), "envoy.filters.listener.original_dst",
             envoy::extensions::filters::listener::original_dst::v3::OriginalDst());
}

envoy::config::listener::v3::ListenerFilter* add_tls_inspector(Listener* listener) {
  envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector config;
  config.mutable_initial_read_buffer_size()->set_value(512);
  add_filter(listener->mutable_listener_filters(), "envoy.filters.listener.tls_inspector", config);
  return listener->mutable_listener_filters(listener->listener_filters_size() - 1);
}

envoy::config::listener::v3::ListenerFilter* add_http_inspector(Listener* listener) {
  add_filter(listener->mutable_listener_filters(), "envoy.filters.listener.http_inspector",
             envoy::extensions::filters::listener::http_inspector::v3::HttpInspector());
  return listener->mutable_listener_filters(listener->listener_filters_size() - 1);
}

void set_handshake_limit(FilterChain* chain) { chain->mutable_transport_socket_connect_timeout()->set_seconds(15); }

}  // namespace pinnace::translator
