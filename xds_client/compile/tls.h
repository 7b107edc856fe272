// Compiles DownstreamTlsContext and UpstreamTlsContext. envoy.extensions.transport_sockets.tls.v3.
#pragma once

#include "envoy/config/core/v3/base.pb.h"
#include "xds_client/compile/context.h"

namespace pinnace::compile {

// nullopt: raw_buffer.
Result<std::optional<model::DownstreamTls>> downstream_transport(const envoy::config::core::v3::TransportSocket& proto,
                                                                 Context& context);
// nullptr: raw_buffer.
Result<std::shared_ptr<const model::UpstreamTls>> upstream_transport(
    const envoy::config::core::v3::TransportSocket& proto, Context& context);

}  // namespace pinnace::compile
