// The conditions of RetryPolicy.retry_on and of x-envoy-retry-on, as bits of model::RetryOn. Pure.
#pragma once

#include <cstdint>
#include <string_view>

namespace pinnace::route {

// "5xx, reset" → bits. ENVOY: an unknown condition never holds.
uint32_t retry_conditions(std::string_view list);

}  // namespace pinnace::route
