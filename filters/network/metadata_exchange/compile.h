// envoy.tcp.metadataexchange.config.MetadataExchange, of a filter chain or of cluster.filters. THREAD: the compile
// thread.
#pragma once

#include <google/protobuf/any.pb.h>

#include "proxy/net/prologue.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters::metadata_exchange {

Result<std::shared_ptr<const net::PrologueConfig>> compile(const google::protobuf::Any& any, compile::Context& context);

}  // namespace pinnace::filters::metadata_exchange
