#include "filters/network/http_connection_manager/local_reply.h"

#include <charconv>

namespace pinnace::filters::hcm {

using http::HeaderId;

namespace {

bool is_grpc(const http::RequestHead& request) {
  std::string_view type = request.headers.get(HeaderId::kContentType);
  return type.substr(0, 16) == "application/grpc" && (type.size() == 16 || type[16] == '+');
}

// grpc-message, "Percent-Byte" of the gRPC over HTTP/2 specification.
std::string_view percent_encoded(std::string_view text, base::Arena& arena) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  char* out = arena.take_chars(text.size() * 3);
  size_t n = 0;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '%') {
      out[n++] = c;
    } else {
      out[n++] = '%';
      out[n++] = kHex[byte >> 4];
      out[n++] = kHex[byte & 15];
    }
  }
  return {out, n};
}

// ENVOY: the gRPC status for an HTTP one.
std::string_view grpc_status(uint16_t status) {
  switch (status) {
    case 400: return "13";
    case 401: return "16";
    case 403: return "7";
    case 404: return "12";
    case 429:
    case 502:
    case 503:
    case 504: return "14";
    default: return "2";
  }
}

}  // namespace

LocalResponse make_response(const filter::LocalReply& reply, const http::RequestHead* request, base::Arena& arena) {
  auto& head = *new (arena.take(sizeof(http::ResponseHead), alignof(http::ResponseHead))) http::ResponseHead(arena);
  if (request && is_grpc(*request)) {
    head.status = 200;
    head.headers.add(HeaderId::kContentType, "application/grpc");
    head.headers.add(HeaderId::kGrpcStatus, grpc_status(reply.status));
    if (!reply.body.empty()) head.headers.add(HeaderId::kGrpcMessage, percent_encoded(reply.body, arena));
    return {head, {}};
  }
  head.status = reply.status;
  if (!reply.extra_name.empty()) head.headers.add(reply.extra_name, reply.extra_value);
  if (reply.body.empty()) return {head, {}};
  char* digits = arena.take_chars(20);
  auto last = std::to_chars(digits, digits + 20, reply.body.size()).ptr;
  head.headers.add(HeaderId::kContentLength, {digits, static_cast<size_t>(last - digits)});
  head.headers.add(HeaderId::kContentType, "text/plain");
  bool to_head = request && request->method == "HEAD";
  return {head, to_head ? std::string_view() : reply.body};
}

}  // namespace pinnace::filters::hcm
