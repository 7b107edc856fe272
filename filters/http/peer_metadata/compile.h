// io.istio.http.peer_metadata.Config. THREAD: the compile thread.
#pragma once

#include <google/protobuf/any.pb.h>

#include "proxy/filter/http_filter.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters::peer_metadata {

Result<std::shared_ptr<const filter::HttpFilterConfig>> compile(const google::protobuf::Any& any,
                                                                compile::Context& context);

}  // namespace pinnace::filters::peer_metadata
