// The header fields pinnace itself reads or writes, by number, so that finding one costs an array access.
#pragma once

#include <cstdint>
#include <string_view>

// clang-format off
#define PINNACE_KNOWN_HEADERS(X)                                        \
  X(kHost, "host")                                                      \
  X(kConnection, "connection")                                          \
  X(kContentLength, "content-length")                                   \
  X(kTransferEncoding, "transfer-encoding")                             \
  X(kContentType, "content-type")                                       \
  X(kUserAgent, "user-agent")                                           \
  X(kExpect, "expect")                                                  \
  X(kUpgrade, "upgrade")                                                \
  X(kTe, "te")                                                          \
  X(kTrailer, "trailer")                                                \
  X(kKeepAlive, "keep-alive")                                           \
  X(kProxyConnection, "proxy-connection")                               \
  X(kHttp2Settings, "http2-settings")                                   \
  X(kServer, "server")                                                  \
  X(kDate, "date")                                                      \
  X(kVia, "via")                                                        \
  X(kLocation, "location")                                              \
  X(kCookie, "cookie")                                                  \
  X(kReferer, "referer")                                                \
  X(kForwardedFor, "x-forwarded-for")                                   \
  X(kForwardedProto, "x-forwarded-proto")                               \
  X(kForwardedHost, "x-forwarded-host")                                 \
  X(kForwardedPort, "x-forwarded-port")                                 \
  X(kForwardedClientCert, "x-forwarded-client-cert")                    \
  X(kRequestId, "x-request-id")                                         \
  X(kClientTraceId, "x-client-trace-id")                                \
  X(kGrpcStatus, "grpc-status")                                         \
  X(kGrpcMessage, "grpc-message")                                       \
  X(kGrpcTimeout, "grpc-timeout")                                       \
  X(kEnvoyOriginalPath, "x-envoy-original-path")                        \
  X(kEnvoyOriginalHost, "x-envoy-original-host")                        \
  X(kEnvoyUpstreamServiceTime, "x-envoy-upstream-service-time")         \
  X(kEnvoyExpectedTimeout, "x-envoy-expected-rq-timeout-ms")            \
  X(kEnvoyAttemptCount, "x-envoy-attempt-count")                        \
  X(kEnvoyRetryOn, "x-envoy-retry-on")                                  \
  X(kEnvoyRetryGrpcOn, "x-envoy-retry-grpc-on")                         \
  X(kEnvoyMaxRetries, "x-envoy-max-retries")                            \
  X(kEnvoyUpstreamTimeout, "x-envoy-upstream-rq-timeout-ms")            \
  X(kEnvoyPerTryTimeout, "x-envoy-upstream-rq-per-try-timeout-ms")      \
  X(kEnvoyUpstreamAltStatName, "x-envoy-upstream-alt-stat-name")        \
  X(kEnvoyTimeoutAltResponse, "x-envoy-upstream-rq-timeout-alt-response") \
  X(kEnvoyRetriableStatusCodes, "x-envoy-retriable-status-codes")       \
  X(kEnvoyRetriableHeaderNames, "x-envoy-retriable-header-names")       \
  X(kEnvoyHedgeOnPerTryTimeout, "x-envoy-hedge-on-per-try-timeout")     \
  X(kEnvoyDownstreamServiceCluster, "x-envoy-downstream-service-cluster") \
  X(kEnvoyDownstreamServiceNode, "x-envoy-downstream-service-node")     \
  X(kEnvoyExternalAddress, "x-envoy-external-address")                  \
  X(kEnvoyInternal, "x-envoy-internal")                                 \
  X(kEnvoyForceTrace, "x-envoy-force-trace")                            \
  X(kEnvoyIpTags, "x-envoy-ip-tags")                                    \
  X(kEnvoyDecoratorOperation, "x-envoy-decorator-operation")            \
  X(kEnvoyOverloaded, "x-envoy-overloaded")                             \
  X(kEnvoyImmediateHealthCheckFail, "x-envoy-immediate-health-check-fail") \
  X(kPeerMetadata, "x-envoy-peer-metadata")                             \
  X(kPeerMetadataId, "x-envoy-peer-metadata-id")
// clang-format on

namespace pinnace::http {

enum class HeaderId : uint8_t {
  kOther,
#define X(id, name) id,
  PINNACE_KNOWN_HEADERS(X)
#undef X
      kCount
};
inline constexpr size_t kHeaderIdCount = static_cast<size_t>(HeaderId::kCount);

// The id of a lower-case field name, kOther when it is not a known one.
HeaderId header_id(std::string_view lower_case_name);
std::string_view header_name(HeaderId id);

}  // namespace pinnace::http
