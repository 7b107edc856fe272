#include "filters/http/router/retry.h"

#include <algorithm>

namespace pinnace::filters::router {

using http::ResetReason;

bool retry_response(const model::RetryPolicy& policy, const http::ResponseHead& head) {
  uint32_t on = policy.retry_on;
  if (on == 0) return false;
  uint16_t status = head.status;
  // ENVOY: a rate-limited answer is tried again only where that is asked for, whatever its status.
  if (head.headers.find("x-envoy-ratelimited")) return (on & model::kRetryEnvoyRatelimited) != 0;
  if ((on & model::kRetry5xx) && status >= 500 && status <= 599) return true;
  if ((on & model::kRetryGatewayError) && status >= 502 && status <= 504) return true;
  if ((on & model::kRetryRetriable4xx) && status == 409) return true;
  if ((on & model::kRetryRetriableStatusCodes) &&
      std::find(policy.retriable_status_codes.begin(), policy.retriable_status_codes.end(), status) !=
          policy.retriable_status_codes.end()) {
    return true;
  }
  std::string_view grpc = head.headers.get(http::HeaderId::kGrpcStatus);
  if (grpc.empty()) return false;
  return ((on & model::kRetryGrpcCancelled) && grpc == "1") ||
         ((on & model::kRetryGrpcDeadlineExceeded) && grpc == "4") ||
         ((on & model::kRetryGrpcResourceExhausted) && grpc == "8") ||
         ((on & model::kRetryGrpcInternal) && grpc == "13") || ((on & model::kRetryGrpcUnavailable) && grpc == "14");
}

bool retry_reset(const model::RetryPolicy& policy, ResetReason reason, bool sent) {
  uint32_t on = policy.retry_on;
  if (reason == ResetReason::kOverflow || reason == ResetReason::kLocal) return false;  // more load would not help
  bool connect = reason == ResetReason::kConnectFailed || reason == ResetReason::kConnectTimeout ||
                 reason == ResetReason::kTlsFailed;
  if (on & (model::kRetry5xx | model::kRetryGatewayError | model::kRetryReset)) return true;
  if ((on & model::kRetryConnectFailure) && connect) return true;
  if ((on & model::kRetryRefusedStream) && reason == ResetReason::kRefused) return true;
  return (on & model::kRetryResetBeforeRequest) && !sent;
}

uint64_t back_off(const model::RetryPolicy& policy, uint32_t retry, uint64_t random) {
  uint64_t base = std::max<uint64_t>(1, policy.back_off_base_ms);
  uint64_t ceiling = std::min(policy.back_off_max_ms, base * ((uint64_t{1} << std::min(retry, 20u)) - 1));
  return random % std::max<uint64_t>(1, ceiling) + 1;
}

}  // namespace pinnace::filters::router
