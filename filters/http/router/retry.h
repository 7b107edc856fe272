// Whether an attempt's outcome is tried again: retry_on as Envoy defines each condition. Pure.
#pragma once

#include <optional>

#include "proxy/http/codec.h"
#include "proxy/model/route.h"

namespace pinnace::filters::router {

// The route's policy (nullptr: none) with what the request's x-envoy-* fields ask for on top; those fields go. Who may
// send them is the connection manager's decision. nullopt: they change nothing.
std::optional<model::RetryPolicy> take_asked_retries(http::HeaderMap& headers, const model::RetryPolicy* of_route);

bool retry_response(const model::RetryPolicy& policy, const http::ResponseHead& head);
// `sent`: some of the request was written to a connection.
bool retry_reset(const model::RetryPolicy& policy, http::ResetReason reason, bool sent);
// Milliseconds to wait before retry number `retry` (1, 2, ...): jittered exponential back-off.
uint64_t back_off(const model::RetryPolicy& policy, uint32_t retry, uint64_t random);

}  // namespace pinnace::filters::router
