// Entry: what one line of an access log is about. LIFETIME: of the call that writes it.
#pragma once

#include "proxy/http/stream_info.h"

namespace pinnace::filter {
class FilterState;
}

namespace pinnace::access_log {

// Heads are nullptr for TCP connections and for requests that had none.
struct Entry {
  const http::StreamInfo& info;
  const http::RequestHead* request = nullptr;
  const http::ResponseHead* response = nullptr;
  const http::HeaderMap* trailers = nullptr;  // of the response
  bool tcp = false;
  const filter::FilterState* state = nullptr;  // what the filters have left for others
};

// The gRPC status of a response: what its trailers or its head say, else what its HTTP code comes to; what is no number
// is 2 (UNKNOWN). -1: there was no response.
int grpc_status(const Entry& entry);
bool is_grpc_call(const Entry& entry);

}  // namespace pinnace::access_log
