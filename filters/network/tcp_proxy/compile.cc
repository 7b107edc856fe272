#include "filters/network/tcp_proxy/compile.h"

#include "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.pb.h"
#include "filters/access_loggers/compile.h"
#include "filters/network/tcp_proxy/tcp_proxy.h"
#include "xds_client/compile/common.h"

namespace pinnace::filters::tcp_proxy {

namespace pb = envoy::extensions::filters::network::tcp_proxy::v3;

Result<std::shared_ptr<const filter::NetworkFilterConfig>> compile(const google::protobuf::Any& any,
                                                                   compile::Context& context) {
  pb::TcpProxy proto;
  if (!any.UnpackTo(&proto)) return error("typed_config does not parse");
  auto known = compile::only_fields(proto, {"stat_prefix", "cluster", "weighted_clusters", "idle_timeout", "access_log",
                                            "max_connect_attempts", "max_downstream_connection_duration"});
  if (!known) return known.error();
  Settings settings;
  settings.stat_prefix = proto.stat_prefix();
  auto add = [&](const std::string& name, uint32_t weight) {
    settings.clusters.push_back({context.ids.clusters.id(name), name, weight});
    settings.total_weight += weight;
  };
  if (proto.has_weighted_clusters()) {
    for (const auto& weighted : proto.weighted_clusters().clusters()) {
      auto known_weighted = compile::only_fields(weighted, {"name", "weight"});
      if (!known_weighted)
        return compile::in("weighted_clusters.clusters[" + weighted.name() + "]", known_weighted.error());
      add(weighted.name(), weighted.weight());
    }
    if (settings.total_weight == 0) return error("weighted_clusters: the weights add up to 0");
  } else if (!proto.cluster().empty()) {
    add(proto.cluster(), 1);
  } else {
    return error("cluster: not set");
  }
  if (proto.has_idle_timeout()) settings.idle_timeout_ms = compile::milliseconds(proto.idle_timeout());
  if (proto.has_max_downstream_connection_duration()) {
    settings.max_connection_ms = compile::milliseconds(proto.max_downstream_connection_duration());
  }
  if (proto.has_max_connect_attempts()) settings.max_connect_attempts = proto.max_connect_attempts().value();
  auto logs = access_logs(proto.access_log(), context);
  if (!logs) return logs.error();
  settings.access_logs = std::move(*logs);
  std::string prefix = "tcp." + settings.stat_prefix + ".";
  auto counter = [&](const char* leaf) { return context.stats.counter(prefix + leaf); };
  settings.stats.cx_total = counter("downstream_cx_total");
  settings.stats.cx_no_route = counter("downstream_cx_no_route");
  settings.stats.cx_rx_bytes = counter("downstream_cx_rx_bytes_total");
  settings.stats.cx_tx_bytes = counter("downstream_cx_tx_bytes_total");
  settings.stats.idle_timeout = counter("idle_timeout");
  settings.stats.upstream_flush_total = counter("upstream_flush_total");
  settings.stats.cx_active = context.stats.gauge(prefix + "downstream_cx_active");
  return std::shared_ptr<const filter::NetworkFilterConfig>(std::make_shared<TcpProxyConfig>(std::move(settings)));
}

}  // namespace pinnace::filters::tcp_proxy
