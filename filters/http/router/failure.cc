#include "filters/http/router/failure.h"

namespace pinnace::filters::router {

using http::Flag;
using http::ResetReason;

namespace {

struct ResetText {
  Flag flag;
  uint16_t status;
  std::string_view text;
};

// ENVOY: names of reset reasons as they appear in bodies and, with underscores, in details.
ResetText describe(ResetReason reason) {
  switch (reason) {
    case ResetReason::kConnectFailed: return {Flag::kUpstreamConnectionFailure, 503, "remote connection failure"};
    case ResetReason::kTlsFailed: return {Flag::kUpstreamConnectionFailure, 503, "remote connection failure"};
    case ResetReason::kConnectTimeout: return {Flag::kUpstreamConnectionFailure, 503, "connection timeout"};
    case ResetReason::kPeerReset: return {Flag::kUpstreamTermination, 503, "connection termination"};
    case ResetReason::kPeerClosed: return {Flag::kUpstreamTermination, 503, "connection termination"};
    case ResetReason::kRemoteStream: return {Flag::kUpstreamRemoteReset, 503, "remote reset"};
    case ResetReason::kRefused: return {Flag::kUpstreamRemoteReset, 503, "remote refused stream reset"};
    case ResetReason::kOverflow: return {Flag::kUpstreamOverflow, 503, "overflow"};
    case ResetReason::kProtocolError: return {Flag::kUpstreamProtocolError, 502, "protocol error"};
    case ResetReason::kLocal: break;
  }
  return {Flag::kLocalReset, 503, "local reset"};
}

void put(std::string& out, std::string_view text) {
  for (char c : text) out += c == ' ' ? '_' : c;
}

}  // namespace

filter::LocalReply failure_reply(const Failure& failure, base::Arena& arena) {
  ResetText text = describe(failure.reason);
  std::string details =
      failure.responded ? "upstream_reset_after_response_started{" : "upstream_reset_before_response_started{";
  put(details, text.text);
  if (!failure.detail.empty()) {
    details += '|';
    put(details, failure.detail);
  }
  details += '}';
  std::string body = "upstream connect error or disconnect/reset before headers. ";
  if (failure.attempts > 1) body += "retried and the latest ";
  body += "reset reason: ";
  body += text.text;  // ENVOY: why the transport failed goes to the log, not to the client
  filter::LocalReply reply{text.status, arena.copy(body), arena.copy(details), http::flag_bit(text.flag)};
  if (failure.reason == ResetReason::kOverflow) {
    reply.extra_name = "x-envoy-overloaded";
    reply.extra_value = "true";
  }
  return reply;
}

}  // namespace pinnace::filters::router
