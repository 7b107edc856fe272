#include "proxy/access_log/entry.h"

#include <charconv>

#include "proxy/http/grpc.h"

namespace pinnace::access_log {

using http::HeaderId;

bool is_grpc_call(const Entry& entry) {
  return entry.request && http::is_grpc_type(entry.request->headers.get(HeaderId::kContentType));
}

int grpc_status(const Entry& entry) {
  std::string_view text;
  if (entry.trailers) text = entry.trailers->get(HeaderId::kGrpcStatus);
  if (text.empty() && entry.response) text = entry.response->headers.get(HeaderId::kGrpcStatus);
  if (text.empty()) {
    uint16_t code = entry.info.response_code;
    return code == 0 ? -1 : static_cast<int>(http::grpc_status_for(code));
  }
  int status = 2;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), status);
  return failed == std::errc() && end == text.data() + text.size() && status >= 0 ? status : 2;
}

}  // namespace pinnace::access_log
