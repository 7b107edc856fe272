// Compiles access logs: file, stdout and stderr loggers with text formats. envoy.config.accesslog.v3.AccessLog.
#pragma once

#include "envoy/config/accesslog/v3/accesslog.pb.h"
#include "proxy/access_log/logger.h"
#include "xds_client/compile/context.h"

namespace pinnace::compile {

Result<access_log::Loggers> access_logs(
    const google::protobuf::RepeatedPtrField<envoy::config::accesslog::v3::AccessLog>& protos, Context& context);

}  // namespace pinnace::compile
