// Compiles RouteConfiguration. envoy.config.route.v3. ERRORS: as compile/cluster.h.
#pragma once

#include "envoy/config/route/v3/route.pb.h"
#include "xds_client/compile/context.h"

namespace pinnace::compile {

Result<model::RouteConfigPtr> route_config(const envoy::config::route::v3::RouteConfiguration& proto, Context& context);

}  // namespace pinnace::compile
