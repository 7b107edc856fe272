#include "tests/fuzz/client_request.h"

#include "proxy/http/h1/encoder.h"

namespace pinnace::fuzz {

using http::HeaderId;
using http::h1::as_bytes;

ClientRequest::ClientRequest(ClientSide& side, size_t number)
    : side_(side),
      number_(number),
      arena_(side.wire_.loop().blocks()),
      head_(arena_),
      trailers_(arena_),
      request_trailers_(arena_) {}

void ClientRequest::start(http::ClientCodec& codec) {
  sender_ = &codec.new_stream(*this);
  head_.path = "/";
  head_.authority = "a";
  head_.scheme = "http";
  switch (kind()) {
    case Asked::kGet: head_.method = "GET"; return sender_->send_request(head_, true);
    case Asked::kHead: head_.method = "HEAD"; return sender_->send_request(head_, true);
    case Asked::kConnect:
      head_.method = "CONNECT";
      head_.path = {};
      return sender_->send_request(head_, false);
    case Asked::kWebsocket:
      head_.method = "GET";
      head_.upgrade = "websocket";
      return sender_->send_request(head_, false);
    case Asked::kGetAndReset:
      head_.method = "GET";
      due_ = true;
      return sender_->send_request(head_, true);
    case Asked::kPost:
    case Asked::kPostWithTrailers:
    case Asked::kPausedPost: break;
  }
  head_.method = "POST";
  due_ = true;
  sender_->send_request(head_, false);
  if (!ended_) sender_->send_data(as_bytes("begin"), false);
}

// The rest of a body; the answer may have come before.
void ClientRequest::run_due() {
  due_ = false;
  switch (kind()) {
    case Asked::kGetAndReset:
      story().end = "given up";
      end();
      return sender_->reset(http::ResetReason::kLocal);
    case Asked::kPostWithTrailers:
      sent_ = true;
      request_trailers_.add("x-sum", "1");
      return sender_->send_trailers(request_trailers_);
    case Asked::kPausedPost:
      if (std::exchange(sent_, true)) return sender_->set_reading(true);
      due_ = true;
      sender_->set_reading(false);
      [[fallthrough]];
    default: sent_ = true; return sender_->send_data(as_bytes("end"), true);
  }
}

void ClientRequest::on_informational(http::ResponseHead& head) {
  check(!ended_ && !head_seen_ && head.status >= 100 && head.status < 200 && head.status != 101, "1xx comes first");
  story().head += describe(head);
}

void ClientRequest::on_response(http::ResponseHead& head, bool end_stream) {
  check(!ended_ && !std::exchange(head_seen_, true), "a final head comes once");
  check(head.status == 101 ? !head_.upgrade.empty() : head.status >= 200 && head.status < 1000, "a status it can have");
  check(head.headers.size() <= side_.settings_.limits.max_headers, "a head has so many fields");
  check(head.headers.byte_size() <= side_.settings_.max_head_bytes, "a head has so many bytes");
  story().head += describe(head);
  if (end_stream) return response_ended();
  tunnel_ = head_.wants_tunnel() && http::opens_tunnel(!head_.upgrade.empty(), head.status);
  check(tunnel_ || !http::bodiless(head.status, head_.method == "HEAD") ||
            side_.codec_->protocol() == http::Protocol::kHttp2,
        "what has no body ends with its head");
}

void ClientRequest::on_data(Bytes data, bool end_stream) {
  check(!ended_ && head_seen_, "a body comes between the head and the end");
  story().body.append(data.begin(), data.end());
  if (!end_stream) return;
  const http::ResponseHead& head = heads_.back();
  std::string_view length = head.headers.get(HeaderId::kContentLength);
  if (tunnel_) return response_ended();
  if (http::bodiless(head.status, head_.method == "HEAD")) {
    check(story().body.empty(), "no body where there is none");
  } else if (!length.empty() && !head_.wants_tunnel()) {
    check(std::stoull(std::string(length)) == story().body.size(), "all of the body and no more");
  }
  response_ended();
}

void ClientRequest::on_trailers(http::HeaderMap& trailers) {
  check(!ended_ && head_seen_, "trailers come after the head");
  check(trailers.size() <= side_.settings_.limits.max_headers, "trailers have so many fields");
  story().end = describe(trailers);
  response_ended();
}

void ClientRequest::on_reset(http::ResetReason reason, std::string_view detail) {
  check(!ended_, "nothing after the end");
  story().end = "reset " + std::to_string(static_cast<int>(reason)).append(" ").append(detail);
  end();
}

void ClientRequest::response_ended() {
  story().end += "end";
  end();
}

void ClientRequest::end() {
  ended_ = true;
  due_ = false;
  side_.ended(*this);
}

}  // namespace pinnace::fuzz
