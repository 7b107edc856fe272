// HTTPMatchRequest -> envoy.config.route.v3.RouteMatch.
#pragma once

#include "envoy/config/route/v3/route_components.pb.h"
#include "translator/fetch/resources.h"

namespace pinnace::translator {

// No match at all is "/" as prefix.
void set_match(const HttpMatch* match, envoy::config::route::v3::RouteMatch* out);

bool takes_everything(const envoy::config::route::v3::RouteMatch& match);

}  // namespace pinnace::translator
