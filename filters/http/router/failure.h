// What the client and the access log are told when an attempt failed: Envoy's status, flag, body and details. Pure.
#pragma once

#include "proxy/filter/http_filter.h"

namespace pinnace::filters::router {

struct Failure {
  http::ResetReason reason;
  std::string_view detail;  // why, in words; may be empty
  uint32_t attempts;
  bool responded;  // the response head already went downstream
};

// LIFETIME: the texts are the arena's.
filter::LocalReply failure_reply(const Failure& failure, base::Arena& arena);

}  // namespace pinnace::filters::router
