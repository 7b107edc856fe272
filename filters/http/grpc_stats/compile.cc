#include "filters/http/grpc_stats/compile.h"

#include "envoy/extensions/filters/http/grpc_stats/v3/config.pb.h"
#include "filters/http/grpc_stats/grpc_stats.h"

namespace pinnace::filters::grpc_stats {

Result<std::shared_ptr<const filter::HttpFilterConfig>> compile(const google::protobuf::Any& any, compile::Context&) {
  envoy::extensions::filters::http::grpc_stats::v3::FilterConfig proto;
  if (!any.UnpackTo(&proto)) return error("typed_config does not parse");
  // emit_filter_state only matters to who reads it: access logs refuse %FILTER_STATE()%, and there is no other reader.
  auto known =
      compile::only_fields(proto, {"emit_filter_state", "individual_method_stats_allowlist", "stats_for_all_methods",
                                   "enable_upstream_stats", "replace_dots_in_grpc_service_name"});
  if (!known) return known.error();
  GrpcStatsSettings settings;
  settings.all_methods = proto.stats_for_all_methods().value();
  settings.upstream_time = proto.enable_upstream_stats();
  settings.replace_dots = settings.all_methods && proto.replace_dots_in_grpc_service_name();  // ENVOY
  if (proto.has_individual_method_stats_allowlist()) {
    auto& few = settings.few.emplace();
    for (const auto& service : proto.individual_method_stats_allowlist().services()) {
      for (const auto& method : service.method_names()) few.insert("grpc." + service.name() + "." + method + ".");
    }
  }
  return std::shared_ptr<const filter::HttpFilterConfig>(std::make_shared<GrpcStatsConfig>(std::move(settings)));
}

}  // namespace pinnace::filters::grpc_stats
