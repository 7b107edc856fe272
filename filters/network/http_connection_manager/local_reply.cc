#include "filters/network/http_connection_manager/local_reply.h"

#include <charconv>

#include "proxy/http/grpc.h"

namespace pinnace::filters::hcm {

using http::HeaderId;

LocalResponse make_response(const filter::LocalReply& reply, const http::RequestHead* request, bool grpc,
                            base::Arena& arena) {
  auto& head = *new (arena.take(sizeof(http::ResponseHead), alignof(http::ResponseHead))) http::ResponseHead(arena);
  if (grpc) {
    head.status = 200;
    head.headers.add(HeaderId::kContentType, "application/grpc");
    uint8_t status = reply.grpc_status == filter::LocalReply::kByHttpStatus ? http::grpc_status_for(reply.status)
                                                                            : reply.grpc_status;
    char* text = arena.take_chars(3);
    auto end = std::to_chars(text, text + 3, status).ptr;
    head.headers.add(HeaderId::kGrpcStatus, {text, static_cast<size_t>(end - text)});
    if (!reply.body.empty()) head.headers.add(HeaderId::kGrpcMessage, http::grpc_message(reply.body, arena));
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
