// Compiles envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.
#pragma once

#include <google/protobuf/any.pb.h>

#include "proxy/filter/network_filter.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters::tcp_proxy {

Result<std::shared_ptr<const filter::NetworkFilterConfig>> compile(const google::protobuf::Any& any,
                                                                   compile::Context& context);

}  // namespace pinnace::filters::tcp_proxy
