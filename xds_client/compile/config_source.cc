#include "xds_client/compile/config_source.h"

#include "xds_client/compile/common.h"

namespace pinnace::compile {

namespace core = envoy::config::core::v3;

Result<std::string> grpc_cluster(const core::GrpcService& proto) {
  if (!proto.has_envoy_grpc()) return error("only envoy_grpc is supported");
  if (proto.envoy_grpc().cluster_name().empty()) return error("envoy_grpc.cluster_name: empty");
  return proto.envoy_grpc().cluster_name();
}

Result<model::ConfigSource> api_config_source(const core::ApiConfigSource& proto) {
  using Api = core::ApiConfigSource;
  model::ConfigSource out;
  switch (proto.api_type()) {
    case Api::GRPC:
    case Api::AGGREGATED_GRPC: break;
    case Api::DELTA_GRPC:
    case Api::AGGREGATED_DELTA_GRPC: out.delta = true; break;
    default: return error("api_type: only GRPC and DELTA_GRPC are supported");
  }
  if (proto.grpc_services_size() != 1) return error("grpc_services: exactly one is needed");
  auto cluster = grpc_cluster(proto.grpc_services(0));
  if (!cluster) return in("grpc_services", cluster.error());
  out.cluster = std::move(*cluster);
  return out;
}

Result<model::ConfigSource> config_source(const core::ConfigSource& proto) {
  if (proto.has_ads()) return model::ConfigSource();
  if (!proto.has_api_config_source()) return error("only ads and api_config_source are supported");
  auto out = api_config_source(proto.api_config_source());
  if (!out) return in("api_config_source", out.error());
  return out;
}

uint64_t fetch_timeout_ms(const core::ConfigSource& proto) {
  return proto.has_initial_fetch_timeout() ? milliseconds(proto.initial_fetch_timeout()) : kInitialFetchTimeoutMs;
}

}  // namespace pinnace::compile
