#include "filters/http/router/retry.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pinnace::filters::router {
namespace {

using http::ResetReason;
using model::RetryPolicy;

RetryPolicy on(uint32_t conditions) {
  RetryPolicy policy;
  policy.retry_on = conditions;
  return policy;
}

bool retries(const RetryPolicy& policy, uint16_t status,
             const std::vector<std::pair<std::string, std::string>>& fields = {}) {
  base::BlockPool pool;
  base::Arena arena(pool);
  http::ResponseHead head(arena);
  head.status = status;
  for (const auto& [name, value] : fields) head.headers.add_copy(name, value);
  return retry_response(policy, head);
}

TEST(RetryTest, judges_responses_by_status) {
  struct {
    uint32_t condition;
    std::vector<uint16_t> yes, no;
  } cases[] = {
      {0, {}, {200, 404, 409, 500, 503}},
      {model::kRetry5xx, {500, 501, 502, 503, 504, 599}, {200, 301, 404, 409, 499, 600}},
      {model::kRetryGatewayError, {502, 503, 504}, {500, 501, 505, 200, 409}},
      {model::kRetryRetriable4xx, {409}, {400, 404, 408, 429, 500, 503}},
      {model::kRetryConnectFailure | model::kRetryReset | model::kRetryRefusedStream, {}, {503, 502, 200}},
      {model::kRetryRetriableStatusCodes, {}, {200, 503}},
  };
  for (const auto& c : cases) {
    for (uint16_t status : c.yes) EXPECT_TRUE(retries(on(c.condition), status)) << c.condition << " " << status;
    for (uint16_t status : c.no) EXPECT_FALSE(retries(on(c.condition), status)) << c.condition << " " << status;
  }
}

TEST(RetryTest, takes_listed_status_codes_only_when_asked_for) {
  RetryPolicy policy = on(model::kRetryRetriableStatusCodes);
  policy.retriable_status_codes = {404, 503};
  EXPECT_TRUE(retries(policy, 404));
  EXPECT_TRUE(retries(policy, 503));
  EXPECT_FALSE(retries(policy, 500));
  policy.retry_on = model::kRetryGatewayError;
  EXPECT_FALSE(retries(policy, 404));
}

TEST(RetryTest, judges_grpc_by_its_status) {
  struct {
    uint32_t condition;
    const char* status;
  } cases[] = {{model::kRetryGrpcCancelled, "1"},
               {model::kRetryGrpcDeadlineExceeded, "4"},
               {model::kRetryGrpcResourceExhausted, "8"},
               {model::kRetryGrpcInternal, "13"},
               {model::kRetryGrpcUnavailable, "14"}};
  for (const auto& c : cases) {
    for (const auto& other : cases) {
      EXPECT_EQ(retries(on(c.condition), 200, {{"grpc-status", other.status}}), c.condition == other.condition);
    }
    EXPECT_FALSE(retries(on(c.condition), 200, {{"grpc-status", "0"}}));
    EXPECT_FALSE(retries(on(c.condition), 200, {{"grpc-status", ""}}));
    EXPECT_FALSE(retries(on(c.condition), 503));
  }
}

TEST(RetryTest, leaves_a_rate_limited_response_alone_unless_told_to_retry_it) {
  // ENVOY: x-envoy-ratelimited overrules every other condition.
  EXPECT_FALSE(retries(on(model::kRetry5xx), 503, {{"x-envoy-ratelimited", "true"}}));
  EXPECT_TRUE(retries(on(model::kRetryEnvoyRatelimited), 429, {{"x-envoy-ratelimited", "true"}}));
  EXPECT_FALSE(retries(on(model::kRetryEnvoyRatelimited), 429));
}

TEST(RetryTest, judges_resets_by_their_reason) {
  using R = ResetReason;
  const std::vector<R> all = {R::kPeerReset, R::kPeerClosed,    R::kProtocolError,  R::kRemoteStream,
                              R::kRefused,   R::kConnectFailed, R::kConnectTimeout, R::kTlsFailed};
  const std::vector<R> connect = {R::kConnectFailed, R::kConnectTimeout, R::kTlsFailed};
  struct {
    uint32_t condition;
    std::vector<R> yes;
  } cases[] = {
      {0, {}},
      {model::kRetry5xx, all},
      {model::kRetryGatewayError, all},
      {model::kRetryReset, all},
      {model::kRetryConnectFailure, connect},
      {model::kRetryRefusedStream, {R::kRefused}},
      {model::kRetryRetriable4xx | model::kRetryRetriableStatusCodes | model::kRetryGrpcUnavailable, {}},
  };
  for (const auto& c : cases) {
    for (R reason : all) {
      bool expected = std::find(c.yes.begin(), c.yes.end(), reason) != c.yes.end();
      EXPECT_EQ(retry_reset(on(c.condition), reason, true), expected) << c.condition << " " << static_cast<int>(reason);
    }
  }
}

TEST(RetryTest, knows_whether_anything_was_sent) {
  auto policy = on(model::kRetryResetBeforeRequest);
  EXPECT_TRUE(retry_reset(policy, ResetReason::kPeerReset, false));
  EXPECT_FALSE(retry_reset(policy, ResetReason::kPeerReset, true));
}

TEST(RetryTest, never_retries_what_more_load_makes_worse_or_we_gave_up) {
  for (bool sent : {false, true}) {
    EXPECT_FALSE(retry_reset(on(~0u), ResetReason::kOverflow, sent));
    EXPECT_FALSE(retry_reset(on(~0u), ResetReason::kLocal, sent));
  }
}

TEST(RetryTest, backs_off_longer_each_time_with_jitter_up_to_its_limit) {
  RetryPolicy policy;  // 25 ms, at most 250
  uint64_t earlier = 0;
  for (uint32_t retry : {1, 2, 3, 4, 5, 10, 63, 64, 1000}) {
    uint64_t least = ~uint64_t{0}, most = 0;
    for (uint64_t random = 0; random < 5000; random++) {
      uint64_t wait = back_off(policy, retry, random);
      least = std::min(least, wait);
      most = std::max(most, wait);
    }
    EXPECT_LE(least, 1u) << "full jitter";
    EXPECT_LE(most, 250u);
    EXPECT_GE(most, earlier);
    EXPECT_LE(most, retry == 1 ? 25u : 250u);
    earlier = most;
  }
  EXPECT_GE(earlier, 249u);
}

TEST(RetryTest, backs_off_sanely_with_odd_settings) {
  RetryPolicy policy;
  policy.back_off_base_ms = 0;
  policy.back_off_max_ms = 0;
  EXPECT_LE(back_off(policy, 5, 12345), 1u);
  policy.back_off_base_ms = ~uint64_t{0} / 2;
  policy.back_off_max_ms = 1000;
  for (uint32_t retry : {1u, 2u, 3u, 40u}) {
    uint64_t most = 0;
    for (uint64_t random = 0; random < 2000; random++) most = std::max(most, back_off(policy, retry, random));
    EXPECT_EQ(most, 1000u) << "no overflow at retry " << retry;
  }
}

TEST(RetryTest, an_internal_client_may_ask_for_more_than_the_route_gives) {
  base::BlockPool pool;
  base::Arena arena(pool);
  auto ask = [&](std::vector<std::pair<std::string, std::string>> fields, const RetryPolicy* of_route) {
    http::HeaderMap headers(arena);
    for (const auto& [name, value] : fields) headers.add_copy(name, value);
    auto asked = take_asked_retries(headers, of_route);
    EXPECT_EQ(headers.size(), 0u);
    return asked;
  };
  RetryPolicy route = on(model::kRetry5xx);
  route.num_retries = 3;
  EXPECT_FALSE(ask({}, nullptr));
  EXPECT_FALSE(ask({}, &route));
  EXPECT_FALSE(ask({{"x-envoy-max-retries", "5"}}, nullptr)) << "without a condition there are none";
  auto fresh = ask({{"x-envoy-retry-on", "reset, no-such"}, {"x-envoy-max-retries", "5"}}, nullptr);
  ASSERT_TRUE(fresh);
  EXPECT_EQ(fresh->retry_on, model::kRetryReset);
  EXPECT_EQ(fresh->num_retries, 5u);
  auto more = ask({{"x-envoy-retry-grpc-on", "cancelled"}, {"x-envoy-max-retries", "99999999999"}}, &route);
  ASSERT_TRUE(more);
  EXPECT_EQ(more->retry_on, model::kRetry5xx | model::kRetryGrpcCancelled);
  EXPECT_EQ(more->num_retries, 3u);
  auto codes =
      ask({{"x-envoy-retry-on", "retriable-status-codes"}, {"x-envoy-retriable-status-codes", "404, x,409"}}, nullptr);
  ASSERT_TRUE(codes);
  EXPECT_EQ(codes->retriable_status_codes, (std::vector<uint32_t>{404, 409}));
}

}  // namespace
}  // namespace pinnace::filters::router
