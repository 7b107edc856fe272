// Compiles envoy.extensions.filters.http.router.v3.Router.
#pragma once

#include <google/protobuf/any.pb.h>

#include "proxy/filter/http_filter.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters::router {

Result<std::shared_ptr<const filter::HttpFilterConfig>> compile(const google::protobuf::Any& any,
                                                                compile::Context& context);

}  // namespace pinnace::filters::router
