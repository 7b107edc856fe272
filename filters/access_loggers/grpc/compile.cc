#include "filters/access_loggers/grpc/compile.h"

#include "envoy/extensions/access_loggers/grpc/v3/als.pb.h"
#include "envoy/service/accesslog/v3/als.pb.h"
#include "filters/access_loggers/grpc/logger.h"
#include "xds_client/compile/common.h"
#include "xds_client/compile/config_source.h"

namespace pinnace::filters::grpc_access_log {
namespace {

namespace pb = envoy::extensions::access_loggers::grpc::v3;
using compile::in;

Result<bool> common(const pb::CommonGrpcAccessLogConfig& proto, Settings& out, compile::Context& context) {
  auto known = compile::only_fields(
      proto, {"log_name", "grpc_service", "transport_api_version", "buffer_flush_interval", "buffer_size_bytes",
              // ENVOY: objects that no filter has left are absent; pinnace has none.
              "filter_state_objects_to_log"});
  if (!known) return known.error();
  auto cluster = compile::grpc_cluster(proto.grpc_service());
  if (!cluster) return in("grpc_service", cluster.error());
  out.cluster_id = context.ids.clusters.id(*cluster);
  envoy::service::accesslog::v3::StreamAccessLogsMessage::Identifier identifier;
  *identifier.mutable_node() = context.node;
  identifier.set_log_name(proto.log_name());
  out.identifier = identifier.SerializeAsString();
  if (proto.has_buffer_flush_interval()) {
    out.flush_interval_ms = std::max<uint64_t>(1, compile::milliseconds(proto.buffer_flush_interval()));
  }
  if (proto.has_buffer_size_bytes()) out.batch_bytes = proto.buffer_size_bytes().value();
  out.written = context.stats.counter("access_logs.grpc_access_log.logs_written");
  out.dropped = context.stats.counter("access_logs.grpc_access_log.logs_dropped");
  return true;
}

void lower_names(const google::protobuf::RepeatedPtrField<std::string>& from, std::vector<std::string>& to) {
  for (const auto& name : from) to.push_back(compile::lower(name));
}

}  // namespace

bool understands(const google::protobuf::Any& any) {
  return any.Is<pb::HttpGrpcAccessLogConfig>() || any.Is<pb::TcpGrpcAccessLogConfig>();
}

Result<std::shared_ptr<const access_log::Logger>> compile(const google::protobuf::Any& any,
                                                          access_log::EntryFilterPtr filter,
                                                          compile::Context& context) {
  auto settings = std::make_shared<Settings>();
  pb::HttpGrpcAccessLogConfig http;
  pb::TcpGrpcAccessLogConfig tcp;
  Result<bool> done = true;
  if (any.UnpackTo(&http)) {
    auto known =
        compile::only_fields(http, {"common_config", "additional_request_headers_to_log",
                                    "additional_response_headers_to_log", "additional_response_trailers_to_log"});
    if (!known) return known.error();
    lower_names(http.additional_request_headers_to_log(), settings->additional.request);
    lower_names(http.additional_response_headers_to_log(), settings->additional.response);
    lower_names(http.additional_response_trailers_to_log(), settings->additional.trailers);
    done = common(http.common_config(), *settings, context);
  } else {
    any.UnpackTo(&tcp);
    settings->tcp = true;
    done = common(tcp.common_config(), *settings, context);
  }
  if (!done) return in("common_config", done.error());
  uint32_t service = context.ids.log_services.id(any.type_url() + any.value());
  return std::shared_ptr<const access_log::Logger>(
      std::make_shared<GrpcLogger>(std::move(filter), service, std::move(settings)));
}

}  // namespace pinnace::filters::grpc_access_log
