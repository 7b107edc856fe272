// ServerRequest: one request of a ServerSide and its answer. LIFETIME: until the end of the turn in which it ended.
#pragma once

#include "tests/fuzz/server_side.h"

namespace pinnace::fuzz {

class ServerRequest final : public http::RequestReceiver, public base::Deferred {
 public:
  ServerRequest(ServerSide& side, http::ResponseSender& sender, size_t number);

  base::Arena& arena() override { return arena_; }
  http::RequestHead& request() override { return head_; }
  http::HeaderMap& request_trailers() override { return trailers_; }
  void on_request(bool end_stream) override;
  void on_data(Bytes data, bool end_stream) override;
  void on_trailers(http::HeaderMap& trailers) override;
  void on_bad_request(uint16_t status, std::string_view detail) override;
  void on_reset(http::ResetReason reason, std::string_view detail) override;
  void on_writable() override;

  // Something was put off to the next turn.
  bool due() const { return due_; }
  void run_due();
  void connection_ended() { end(); }

 private:
  Story& story() { return side_.stories_[number_]; }
  How::Reaction reaction() const;
  void begin_tunnel();
  void request_ended();
  void begin_answer(uint16_t status, bool end_stream);
  void answer(uint16_t status);
  void end_answer();
  void end();

  ServerSide& side_;
  http::ResponseSender& sender_;
  const size_t number_;
  base::Arena arena_;
  http::RequestHead head_;
  http::HeaderMap trailers_, answer_trailers_;
  bool head_seen_ = false, request_done_ = false;  // of the request
  bool started_ = false;                           // the answer
  bool ended_ = false, due_ = false, paused_ = false;
};

}  // namespace pinnace::fuzz
