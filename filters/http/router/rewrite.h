// What the route says about the request that goes upstream: header mutations, authority and path rewrites, and the
// headers that Envoy's router adds. THREAD: the stream's worker.
#pragma once

#include "filters/http/router/settings.h"
#include "proxy/filter/http_filter.h"

namespace pinnace::filters::router {

// REQUIRES: the stream's route has an action. `expected_ms`: x-envoy-expected-rq-timeout-ms; 0 leaves it out.
void finalize_request(filter::HttpStream& stream, const RouterSettings& settings, uint64_t expected_ms);

// Sets a request header to a number, in the stream's arena.
void set_number(filter::HttpStream& stream, http::HeaderId id, uint64_t value);

}  // namespace pinnace::filters::router
