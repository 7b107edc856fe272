// Compiles envoy.extensions.access_loggers.grpc.v3.{Http,Tcp}GrpcAccessLogConfig.
#pragma once

#include <google/protobuf/any.pb.h>

#include <memory>

#include "proxy/access_log/logger.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters::grpc_access_log {

bool understands(const google::protobuf::Any& any);
// REQUIRES: understands(any).
Result<std::shared_ptr<const access_log::Logger>> compile(const google::protobuf::Any& any,
                                                          access_log::EntryFilterPtr filter, compile::Context& context);

}  // namespace pinnace::filters::grpc_access_log
