// Names of the cluster.<name>.* stats.
#include "xds_client/compile/cluster_stats.h"

namespace pinnace::compile {

model::ClusterStats cluster_stats(const std::string& name, stats::Store& store) {
  std::string prefix = "cluster." + name + ".";
  auto counter = [&](const char* leaf) { return store.counter(prefix + leaf); };
  auto gauge = [&](const char* leaf) { return store.gauge(prefix + leaf); };
  model::ClusterStats s;
  s.store = &store;
  s.prefix = prefix;
  s.cx_total = counter("upstream_cx_total");
  s.cx_http1_total = counter("upstream_cx_http1_total");
  s.cx_http2_total = counter("upstream_cx_http2_total");
  s.cx_connect_fail = counter("upstream_cx_connect_fail");
  s.cx_connect_timeout = counter("upstream_cx_connect_timeout");
  s.cx_overflow = counter("upstream_cx_overflow");
  s.cx_destroy = counter("upstream_cx_destroy");
  s.cx_destroy_local_with_rq = counter("upstream_cx_destroy_local_with_active_rq");
  s.cx_destroy_remote_with_rq = counter("upstream_cx_destroy_remote_with_active_rq");
  s.cx_none_healthy = counter("upstream_cx_none_healthy");
  s.cx_rx_bytes = counter("upstream_cx_rx_bytes_total");
  s.cx_tx_bytes = counter("upstream_cx_tx_bytes_total");
  s.cx_idle_timeout = counter("upstream_cx_idle_timeout");
  s.cx_max_requests = counter("upstream_cx_max_requests");
  s.cx_max_duration = counter("upstream_cx_max_duration_reached");
  s.cx_active = gauge("upstream_cx_active");
  s.rq_active = gauge("upstream_rq_active");
  s.rq_pending_active = gauge("upstream_rq_pending_active");
  s.rq_total = counter("upstream_rq_total");
  s.rq_timeout = counter("upstream_rq_timeout");
  s.rq_per_try_timeout = counter("upstream_rq_per_try_timeout");
  s.rq_retry = counter("upstream_rq_retry");
  s.rq_retry_success = counter("upstream_rq_retry_success");
  s.rq_retry_overflow = counter("upstream_rq_retry_overflow");
  s.rq_retry_limit_exceeded = counter("upstream_rq_retry_limit_exceeded");
  s.rq_pending_total = counter("upstream_rq_pending_total");
  s.rq_pending_overflow = counter("upstream_rq_pending_overflow");
  s.rq_pending_failure = counter("upstream_rq_pending_failure_eject");
  s.rq_cancelled = counter("upstream_rq_cancelled");
  s.rq_rx_reset = counter("upstream_rq_rx_reset");
  s.rq_tx_reset = counter("upstream_rq_tx_reset");
  s.rq_maintenance = counter("upstream_rq_maintenance_mode");
  s.rq_time = store.histogram(prefix + "upstream_rq_time");
  s.cx_connect_ms = store.histogram(prefix + "upstream_cx_connect_ms");
  s.lb_healthy_panic = counter("lb_healthy_panic");
  s.ssl_handshake = counter("ssl.handshake");
  s.ssl_session_reused = counter("ssl.session_reused");
  s.ssl_fail_verify_san = counter("ssl.fail_verify_san");
  s.ssl_connection_error = counter("ssl.connection_error");
  s.original_dst_host_invalid = counter("original_dst_host_invalid");
  return s;
}

}  // namespace pinnace::compile
