// Compiles envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.
#pragma once

#include <google/protobuf/any.pb.h>

#include "proxy/filter/network_filter.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters::hcm {

Result<std::shared_ptr<const filter::NetworkFilterConfig>> compile(const google::protobuf::Any& any,
                                                                   compile::Context& context);

}  // namespace pinnace::filters::hcm
