// Compiles what a route does: RouteAction, RedirectAction, RetryPolicy. envoy.config.route.v3.
#pragma once

#include "envoy/config/route/v3/route_components.pb.h"
#include "xds_client/compile/context.h"

namespace pinnace::compile {

Result<model::RouteAction> route_action(const envoy::config::route::v3::RouteAction& proto, Context& context);
Result<model::RedirectAction> redirect_action(const envoy::config::route::v3::RedirectAction& proto);
Result<model::RetryPolicy> retry_policy(const envoy::config::route::v3::RetryPolicy& proto);

}  // namespace pinnace::compile
