// Compiles access logs: to files, stdout, stderr and gRPC services. envoy.config.accesslog.v3.AccessLog.
#pragma once

#include "envoy/config/accesslog/v3/accesslog.pb.h"
#include "proxy/access_log/logger.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters {

Result<access_log::Loggers> access_logs(
    const google::protobuf::RepeatedPtrField<envoy::config::accesslog::v3::AccessLog>& protos,
    compile::Context& context);

}  // namespace pinnace::filters
