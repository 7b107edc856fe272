// istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig. THREAD: the compile thread.
#pragma once

#include <google/protobuf/any.pb.h>

#include "proxy/filter/http_filter.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters::alpn {

Result<std::shared_ptr<const filter::HttpFilterConfig>> compile(const google::protobuf::Any& any,
                                                                compile::Context& context);

}  // namespace pinnace::filters::alpn
