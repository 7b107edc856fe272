#include "proxy/route/retry_on.h"

#include <utility>

#include "proxy/http/header_map.h"
#include "proxy/model/route.h"

namespace pinnace::route {
namespace {

constexpr std::pair<std::string_view, uint32_t> kRetryOnNames[] = {
    {"5xx", model::kRetry5xx},
    {"gateway-error", model::kRetryGatewayError},
    {"connect-failure", model::kRetryConnectFailure},
    {"reset", model::kRetryReset},
    {"reset-before-request", model::kRetryResetBeforeRequest},
    {"refused-stream", model::kRetryRefusedStream},
    {"retriable-4xx", model::kRetryRetriable4xx},
    {"retriable-status-codes", model::kRetryRetriableStatusCodes},
    {"retriable-headers", model::kRetryRetriableHeaders},
    {"envoy-ratelimited", model::kRetryEnvoyRatelimited},
    {"http3-post-connect-failure", model::kRetryHttp3PostConnectFailure},
    {"cancelled", model::kRetryGrpcCancelled},
    {"deadline-exceeded", model::kRetryGrpcDeadlineExceeded},
    {"internal", model::kRetryGrpcInternal},
    {"resource-exhausted", model::kRetryGrpcResourceExhausted},
    {"unavailable", model::kRetryGrpcUnavailable},
};

}  // namespace

uint32_t retry_conditions(std::string_view list) {
  uint32_t out = 0;
  while (!list.empty()) {
    size_t comma = list.find(',');
    std::string_view name = http::trim(list.substr(0, comma));
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
    for (const auto& [text, bit] : kRetryOnNames) {
      if (text == name) out |= bit;
    }
  }
  return out;
}

}  // namespace pinnace::route
