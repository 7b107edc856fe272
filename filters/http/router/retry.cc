#include "filters/http/router/retry.h"

#include <algorithm>
#include <charconv>

#include "proxy/route/retry_on.h"

namespace pinnace::filters::router {

using http::HeaderId;
using http::ResetReason;

namespace {

// All of `text`, which must fit.
bool parse(std::string_view text, uint32_t& out) {
  auto end = std::from_chars(text.data(), text.data() + text.size(), out);
  return !text.empty() && end.ec == std::errc() && end.ptr == text.data() + text.size();
}

// Each number of a list; what is none is passed over.
void add_status_codes(std::string_view list, std::vector<uint32_t>& out) {
  while (!list.empty()) {
    size_t comma = list.find(',');
    std::string_view text = http::trim(list.substr(0, comma));
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
    uint32_t code = 0;
    if (parse(text, code) && code > 0) out.push_back(code);
  }
}

}  // namespace

std::optional<model::RetryPolicy> take_asked_retries(http::HeaderMap& headers, const model::RetryPolicy* of_route) {
  constexpr HeaderId kFields[] = {HeaderId::kEnvoyRetryOn,
                                  HeaderId::kEnvoyRetryGrpcOn,
                                  HeaderId::kEnvoyMaxRetries,
                                  HeaderId::kEnvoyRetriableStatusCodes,
                                  HeaderId::kEnvoyRetriableHeaderNames,
                                  HeaderId::kEnvoyHedgeOnPerTryTimeout,
                                  HeaderId::kEnvoyUpstreamAltStatName,
                                  HeaderId::kEnvoyTimeoutAltResponse};
  if (std::none_of(std::begin(kFields), std::end(kFields), [&](HeaderId id) { return headers.has(id); })) return {};
  model::RetryPolicy asked = of_route ? *of_route : model::RetryPolicy();
  asked.retry_on |= route::retry_conditions(headers.get(HeaderId::kEnvoyRetryOn));
  asked.retry_on |= route::retry_conditions(headers.get(HeaderId::kEnvoyRetryGrpcOn));
  std::string_view most = headers.get(HeaderId::kEnvoyMaxRetries);
  uint32_t number = 0;
  if (parse(most, number)) asked.num_retries = number;
  add_status_codes(headers.get(HeaderId::kEnvoyRetriableStatusCodes), asked.retriable_status_codes);
  for (HeaderId id : kFields) headers.remove(id);
  return asked.retry_on != 0 ? std::optional(std::move(asked)) : std::nullopt;
}

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
