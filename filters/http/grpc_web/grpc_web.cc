#include "filters/http/grpc_web/grpc_web.h"

#include <charconv>
#include <cstring>

#include "filters/http/grpc_stats/grpc_stats.h"

namespace pinnace::filters::grpc_web {

using filter::Next;
using http::HeaderId;

namespace {

bool is_text(std::string_view type) {
  return type == "application/grpc-web-text" || type == "application/grpc-web-text+proto";
}

bool is_binary(std::string_view type) { return type == "application/grpc-web" || type == "application/grpc-web+proto"; }

// An upstream that speaks gRPC-Web itself.
bool answers_web(const http::ResponseHead& head) {
  std::string_view type = head.headers.get(HeaderId::kContentType);
  type = http::trim(type.substr(0, type.find(';')));
  return head.status == 200 && (http::equals_ignore_case(type, "application/grpc-web") ||
                                http::equals_ignore_case(type, "application/grpc-web+proto"));
}

}  // namespace

filter::HttpFilter* GrpcWebConfig::create(filter::HttpStream& stream) const {
  return filter::make_in_arena<GrpcWeb>(stream.arena(), stream);
}

Next GrpcWeb::on_request(bool) {
  http::RequestHead& request = stream_.request();
  std::string_view type = request.headers.get(HeaderId::kContentType);
  text_request_ = is_text(type);
  web_ = text_request_ || is_binary(type);
  if (!web_) return Next::kContinue;
  if (auto method = http::grpc_method(request.path)) {
    scope_ = grpc_stats::method_scope("grpc-web", *method, false, stream_.arena());
  }
  const http::Header* accept = request.headers.find("accept");
  text_answer_ = accept && is_text(accept->value);
  request.headers.remove(HeaderId::kContentLength);
  request.headers.set(HeaderId::kContentType, "application/grpc");
  request.headers.set(HeaderId::kTe, "trailers");
  if (!request.headers.find("grpc-accept-encoding")) {
    request.headers.add("grpc-accept-encoding", "identity");
  }
  return Next::kContinue;
}

void GrpcWeb::on_request_data(http::Bytes& data, bool end_stream) {
  if (!text_request_) return;
  if (end_stream && (decoder_.waiting() + data.size()) % 4 != 0) {
    return refuse("grpc_base_64_decode_failed_bad_size");
  }
  uint8_t* out = memory(data.size());
  uint8_t* end = decoder_.add(data, out);
  if (!end) return refuse("grpc_base_64_decode_failed");
  data = {out, end};
}

uint8_t* GrpcWeb::memory(size_t size) {
  base::EventLoop& loop = stream_.worker().loop;
  if (uint8_t* at = loop.turn_memory(size)) return at;
  loop.flush_writes();  // nobody borrows the turn's memory, or ours, any more
  if (uint8_t* at = loop.turn_memory(size)) return at;
  spare_.resize(size);
  return spare_.data();
}

void GrpcWeb::refuse(std::string_view details) {
  filter::LocalReply reply{400, "Bad gRPC-web request, invalid base64 data.", details};
  reply.close = true;
  stream_.local_reply(reply);
}

Next GrpcWeb::on_response_head(http::ResponseHead& head, bool end_stream) {
  if (!web_) return Next::kContinue;
  count(head.headers);
  bool foreign = !http::is_grpc_response(head, end_stream) && !answers_web(head);
  head.headers.remove(HeaderId::kContentLength);
  head.headers.set(HeaderId::kContentType,
                   text_answer_ ? "application/grpc-web-text+proto" : "application/grpc-web+proto");
  if (end_stream || !foreign) return Next::kContinue;
  foreign_ = &head;
  return Next::kHold;
}

Next GrpcWeb::on_response_data(http::Bytes& data, bool end_stream) {
  if (!web_) return Next::kContinue;
  if (foreign_) {
    message_.append(data.first(std::min(data.size(), kMostMessage - message_.size())));
    data = {};
    if (!end_stream) return Next::kHold;
    finish_foreign();
    return Next::kContinue;
  }
  if (!text_answer_) return Next::kContinue;
  http::GrpcFrames ahead = frames_;
  uint8_t* out = memory(base::Base64Encoder::most(data.size()) + 4 * ahead.count(data));
  uint8_t* end = out;
  for (http::Bytes rest = data; !rest.empty();) {  // ENVOY: each message is padded for itself
    size_t taken = frames_.take(rest);
    end = encoder_.add(rest.first(taken), end);
    if (frames_.between()) end = encoder_.pad(end);
    rest = rest.subspan(taken);
  }
  if (end_stream) end = encoder_.pad(end);
  data = {out, end};
  return Next::kContinue;
}

void GrpcWeb::on_response_trailers(http::HeaderMap& trailers, filter::Tail& tail) {
  if (!web_) return;
  count(trailers);
  if (foreign_) return finish_foreign();
  size_t size = 0;
  for (const http::Header& field : trailers) size += field.name.size() + field.value.size() + 3;
  auto* frame = stream_.arena().take_array<uint8_t>(size + 5);
  uint8_t* at = frame;
  *at++ = 0x80;
  for (int shift = 24; shift >= 0; shift -= 8) *at++ = static_cast<uint8_t>(size >> shift);
  auto put = [&](std::string_view text) { at = std::copy(text.begin(), text.end(), at); };
  for (const http::Header& field : trailers) {
    put(field.name);
    put(":");
    put(field.value);
    put("\r\n");
  }
  tail.instead = {frame, at};
  if (!text_answer_) return;
  auto* out = stream_.arena().take_array<uint8_t>(base::Base64Encoder::most(size + 5) + 4);
  uint8_t* end = encoder_.pad(out);  // of a message that was cut short
  end = encoder_.pad(encoder_.add(tail.instead, end));
  tail.instead = {out, end};
}

void GrpcWeb::finish_foreign() {
  base::Arena& arena = stream_.arena();
  char* text = arena.take_chars(message_.size());
  size_t n = 0;
  message_.each([&](http::Bytes part) {
    std::memcpy(text + n, part.data(), part.size());
    n += part.size();
  });
  message_.clear();
  char* status = arena.take_chars(3);
  char* end = std::to_chars(status, status + 3, http::grpc_status_for(foreign_->status)).ptr;
  foreign_->headers.set(HeaderId::kGrpcMessage, http::grpc_message({text, n}, arena));
  foreign_->headers.set(HeaderId::kGrpcStatus, {status, static_cast<size_t>(end - status)});
  foreign_->headers.set(HeaderId::kContentLength, "0");
  foreign_ = nullptr;
}

void GrpcWeb::count(const http::HeaderMap& fields) {
  upstream::Cluster* to = scope_.empty() ? nullptr : stream_.worker().clusters.find(stream_.info().cluster_id);
  if (to) to->grpc().answered(stream_.worker().loop.cells(), scope_, fields.get(HeaderId::kGrpcStatus));
}

}  // namespace pinnace::filters::grpc_web
