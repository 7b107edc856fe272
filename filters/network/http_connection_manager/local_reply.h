// The response that stands for a LocalReply: plain text, or for a gRPC client a trailers-only answer. Pure.
#pragma once

#include "proxy/filter/http_filter.h"

namespace pinnace::filters::hcm {

struct LocalResponse {
  http::ResponseHead& head;
  std::string_view body;  // empty: the head ends the stream
};

// `request`: nullptr when its head never came whole; `grpc`: it was gRPC's when it came. LIFETIME: the head is the
// arena's, the body the reply's.
LocalResponse make_response(const filter::LocalReply& reply, const http::RequestHead* request, bool grpc,
                            base::Arena& arena);

}  // namespace pinnace::filters::hcm
