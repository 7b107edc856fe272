// Compiles envoy.extensions.filters.http.grpc_stats.v3.FilterConfig.
#pragma once

#include <google/protobuf/any.pb.h>

#include "proxy/filter/http_filter.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters::grpc_stats {

Result<std::shared_ptr<const filter::HttpFilterConfig>> compile(const google::protobuf::Any& any,
                                                                compile::Context& context);

}  // namespace pinnace::filters::grpc_stats
