// RouterSettings: envoy.extensions.filters.http.router.v3.Router, compiled. Immutable.
#pragma once

namespace pinnace::filters::router {

struct RouterSettings {
  bool suppress_envoy_headers = false;
};

}  // namespace pinnace::filters::router
