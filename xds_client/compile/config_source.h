// Compiles envoy.config.core.v3.ConfigSource and GrpcService. ERRORS: files, REST and google_grpc are refused by name.
#pragma once

#include "envoy/config/core/v3/config_source.pb.h"
#include "envoy/config/core/v3/grpc_service.pb.h"
#include "proxy/base/result.h"
#include "proxy/model/config_source.h"

namespace pinnace::compile {

// initial_fetch_timeout where none is given.
inline constexpr uint64_t kInitialFetchTimeoutMs = 15000;

Result<model::ConfigSource> config_source(const envoy::config::core::v3::ConfigSource& proto);
Result<model::ConfigSource> api_config_source(const envoy::config::core::v3::ApiConfigSource& proto);
// Its initial_fetch_timeout; 0: wait for ever.
uint64_t fetch_timeout_ms(const envoy::config::core::v3::ConfigSource& proto);
// The cluster of an envoy_grpc service.
Result<std::string> grpc_cluster(const envoy::config::core::v3::GrpcService& proto);

}  // namespace pinnace::compile
