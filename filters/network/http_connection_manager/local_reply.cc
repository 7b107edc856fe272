#include "filters/network/http_connection_manager/local_reply.h"

#include <charconv>

#include "proxy/http/grpc.h"

namespace pinnace::filters::hcm {

using http::HeaderId;

namespace {

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

}  // namespace

LocalResponse make_response(const filter::LocalReply& reply, const http::RequestHead* request, base::Arena& arena) {
  auto& head = *new (arena.take(sizeof(http::ResponseHead), alignof(http::ResponseHead))) http::ResponseHead(arena);
  if (request && http::is_grpc_type(request->headers.get(HeaderId::kContentType))) {
    head.status = 200;
    head.headers.add(HeaderId::kContentType, "application/grpc");
    uint8_t status = reply.grpc_status == filter::LocalReply::kByHttpStatus ? http::grpc_status_for(reply.status)
                                                                            : reply.grpc_status;
    char* text = arena.take_chars(3);
    auto end = std::to_chars(text, text + 3, status).ptr;
    head.headers.add(HeaderId::kGrpcStatus, {text, static_cast<size_t>(end - text)});
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
