// ClientRequest: one request of a ClientSide and what was told of its answer. LIFETIME: until the end of the turn in
// which it ended.
#pragma once

#include <deque>

#include "tests/fuzz/client_side.h"

namespace pinnace::fuzz {

class ClientRequest final : public http::ResponseReceiver, public base::Deferred {
 public:
  ClientRequest(ClientSide& side, size_t number);

  // REQUIRES: the codec has room for a stream.
  void start(http::ClientCodec& codec);
  base::Arena& arena() override { return arena_; }
  http::ResponseHead& next_response() override { return heads_.emplace_back(arena_); }
  http::HeaderMap& response_trailers() override { return trailers_; }
  void on_informational(http::ResponseHead& head) override;
  void on_response(http::ResponseHead& head, bool end_stream) override;
  void on_data(Bytes data, bool end_stream) override;
  void on_trailers(http::HeaderMap& trailers) override;
  void on_reset(http::ResetReason reason, std::string_view detail) override;
  void on_writable() override { check(!ended_, "nothing after the end"); }

  // Something was put off to the next turn.
  bool due() const { return due_; }
  void run_due();

 private:
  Story& story() { return side_.stories_[number_]; }
  Asked::Kind kind() const { return static_cast<Asked::Kind>((side_.asked_.kind + number_) & 7); }
  void response_ended();
  void end();

  ClientSide& side_;
  http::RequestSender* sender_ = nullptr;
  const size_t number_;
  base::Arena arena_;
  http::RequestHead head_;
  std::deque<http::ResponseHead> heads_;
  http::HeaderMap trailers_, request_trailers_;
  bool tunnel_ = false;
  bool head_seen_ = false, sent_ = false, ended_ = false, due_ = false;
};

}  // namespace pinnace::fuzz
