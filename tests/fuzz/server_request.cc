#include "tests/fuzz/server_request.h"

#include "proxy/http/h1/encoder.h"

namespace pinnace::fuzz {

using http::HeaderId;
using http::h1::as_bytes;

ServerRequest::ServerRequest(ServerSide& side, http::ResponseSender& sender, size_t number)
    : side_(side),
      sender_(sender),
      number_(number),
      arena_(side.wire_.loop().blocks()),
      head_(arena_),
      trailers_(arena_),
      answer_trailers_(arena_) {}

// HTTP/2's streams take turns, so that one connection has some of each.
How::Reaction ServerRequest::reaction() const {
  bool turns = side_.codec_->protocol() == http::Protocol::kHttp2;
  return static_cast<How::Reaction>((side_.how_.reaction + (turns ? number_ : 0)) & 7);
}

void ServerRequest::on_request(bool end_stream) {
  check(!ended_ && !std::exchange(head_seen_, true), "a head comes once");
  check(head_.headers.size() <= side_.settings_.limits.max_headers, "a head has so many fields");
  check(head_.headers.byte_size() <= side_.settings_.max_head_bytes, "a head has so many bytes");
  story().head = describe(head_);
  if (head_.wants_tunnel()) {
    side_.told_[number_].tunnel = true;
    story() = {"tunnel", {}, {}};  // what becomes of bytes that come too soon depends on the split
    if (end_stream || reaction() == How::kRefuse) return answer(403);
    due_ = reaction() == How::kAtEndLater;
    return due_ ? void() : begin_answer(head_.upgrade.empty() ? 200 : 101, false);
  }
  switch (reaction()) {
    case How::kAtHead: return answer(200);
    case How::kRefuse: return answer(403);
    case How::kReset: end(); return sender_.reset(http::ResetReason::kLocal);
    case How::kEcho: begin_answer(200, false); break;
    case How::kPause:
      due_ = true;
      sender_.set_reading(false);
      break;
    case How::kTrailers: {
      http::ResponseHead early(arena_);
      early.status = 103;
      sender_.send_informational(early);
      break;
    }
    default: break;
  }
  if (end_stream) request_ended();
}

void ServerRequest::on_data(Bytes data, bool end_stream) {
  check(!ended_ && head_seen_ && !request_done_, "a body comes between the head and the end");
  bool tunnel = side_.told_[number_].tunnel;
  if (!tunnel) story().body.append(data.begin(), data.end());
  if (started_ && !data.empty()) {
    sender_.send_data(data, false);
    if (!ended_ && sender_.blocked() && !std::exchange(paused_, true)) sender_.set_reading(false);
  }
  if (!end_stream || ended_) return;
  if (tunnel) return end_answer();
  std::string_view length = head_.headers.get(HeaderId::kContentLength);
  check(length.empty() || std::stoull(std::string(length)) == story().body.size(), "all of the body and no more");
  request_ended();
}

void ServerRequest::on_trailers(http::HeaderMap& trailers) {
  check(!ended_ && head_seen_ && !request_done_, "trailers come after the head and end the request");
  check(trailers.size() <= side_.settings_.limits.max_headers, "trailers have so many fields");
  if (side_.told_[number_].tunnel) return end_answer();
  story().end = describe(trailers);
  request_ended();
}

void ServerRequest::request_ended() {
  request_done_ = true;
  story().end += "end";
  if (reaction() == How::kAtEndLater) due_ = true;
  if (due_) return;
  if (started_) return end_answer();
  answer(200);
}

void ServerRequest::on_bad_request(uint16_t status, std::string_view detail) {
  check(!ended_ && status >= 400 && status < 600, "a refusal has an error status");
  if (head_.wants_tunnel()) side_.told_[number_].tunnel = true;
  story().end = std::to_string(status).append(" ").append(detail);
  if (side_.told_[number_].tunnel) story() = {"tunnel", {}, {}};
  if (!started_) return answer(status);
  end();
  sender_.reset(http::ResetReason::kLocal);
}

void ServerRequest::on_reset(http::ResetReason reason, std::string_view detail) {
  check(!ended_, "nothing after the end");
  if (!side_.told_[number_].tunnel) {
    story().end = "reset " + std::to_string(static_cast<int>(reason)).append(" ").append(detail);
  }
  end();
}

void ServerRequest::on_writable() {
  check(!ended_, "nothing after the end");
  if (std::exchange(paused_, false)) sender_.set_reading(true);
}

void ServerRequest::run_due() {
  due_ = false;
  if (side_.told_[number_].tunnel) return begin_answer(head_.upgrade.empty() ? 200 : 101, false);
  if (reaction() == How::kPause) sender_.set_reading(true);
  if (request_done_) answer(200);
}

void ServerRequest::begin_answer(uint16_t status, bool end_stream) {
  started_ = true;
  http::ResponseHead head(arena_);
  head.status = status;
  if (reaction() == How::kAtEndLater && !end_stream) head.headers.add(HeaderId::kContentLength, "6");
  sender_.send_response(head, end_stream);
}

// A whole answer. Whatever it does to the connection, we hear no more.
void ServerRequest::answer(uint16_t status) {
  bool bare = reaction() == How::kAtEnd || reaction() == How::kRefuse;
  side_.told_[number_].answered = !side_.told_[number_].tunnel;
  side_.told_[number_].to_head = head_.method == "HEAD";
  end();
  begin_answer(status, bare);
  if (bare) return;
  bool with_trailers = reaction() == How::kTrailers;
  sender_.send_data(as_bytes("answer"), !with_trailers);
  if (!with_trailers) return;
  answer_trailers_.add("x-sum", "1");
  sender_.send_trailers(answer_trailers_);
}

void ServerRequest::end_answer() {
  side_.told_[number_].to_head = head_.method == "HEAD";
  side_.told_[number_].answered = !side_.told_[number_].tunnel;
  end();
  sender_.send_data({}, true);
}

void ServerRequest::end() {
  ended_ = true;
  due_ = false;
  side_.ended(*this);
}

}  // namespace pinnace::fuzz
