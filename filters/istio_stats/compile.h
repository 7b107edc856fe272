// stats.PluginConfig, of an HTTP filter or a network filter. THREAD: the compile thread.
#pragma once

#include <google/protobuf/any.pb.h>

#include "proxy/filter/http_filter.h"
#include "proxy/filter/network_filter.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters::istio_stats {

Result<std::shared_ptr<const filter::HttpFilterConfig>> compile_http(const google::protobuf::Any& any,
                                                                     compile::Context& context);
Result<std::shared_ptr<const filter::TcpObserverConfig>> compile_tcp(const google::protobuf::Any& any,
                                                                     compile::Context& context);

}  // namespace pinnace::filters::istio_stats
