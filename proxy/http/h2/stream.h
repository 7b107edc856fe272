// StreamBase: what both ends of an HTTP/2 stream share: what waits to be sent on it, and how far its receiver lets the
// peer go (flow control, RFC 9113 5.2). Bounded: above kHighWatermark the sender is blocked. THREAD, LIFETIME: its
// session's; destroyed at the end of the turn in which nghttp2 closed it.
#pragma once

#include <nghttp2/nghttp2.h>

#include <string>
#include <utility>
#include <vector>

#include "proxy/base/event_loop.h"
#include "proxy/http/codec.h"

namespace pinnace::http::h2 {

class Session;

class StreamBase : public base::Deferred {
 public:
  static constexpr size_t kHighWatermark = 64 * 1024;

  explicit StreamBase(Session& session);

  // nullptr once nobody listens: what still arrives is dropped.
  virtual StreamReceiver* receiver() = 0;
  // nghttp2 is done with the stream: RFC 9113 7 error code.
  virtual void closed(uint32_t error_code) = 0;
  // The last frame of our direction went out.
  virtual void output_ended() {}

 protected:
  friend class Session;

  void queue(Bytes data, bool end);
  void queue_trailers(const HeaderMap& trailers);
  // RST_STREAM; nothing more is sent.
  void stop(uint32_t error_code);
  // Of a stream that closed before its time: its peer reset it, or nghttp2 did for what the peer sent.
  bool reset_by_peer(uint32_t error_code) const {
    return peer_reset_ || error_code == NGHTTP2_NO_ERROR || error_code == NGHTTP2_REFUSED_STREAM;
  }
  std::string_view stream_fault() const {
    return stream_fault_.empty() ? std::string_view("http2.violation.of.messaging.rule") : stream_fault_;
  }
  bool output_blocked() const { return body_.size() > kHighWatermark; }
  void allow_reading(bool on);
  nghttp2_data_provider provider();

  Session& session_;
  int32_t id_ = -1;
  bool dead_ = false;
  bool peer_reset_ = false;        // RST_STREAM came
  std::string_view stream_fault_;  // the rule its peer broke on it; a constant

 private:
  ssize_t read_length(size_t room, uint32_t* flags);
  void move_to(base::Chain& out, size_t size);
  void count_pending(int64_t more);
  // What waits will not be sent.
  void drop_pending() { count_pending(-static_cast<int64_t>(body_.size())); }
  void resume();

  Bytes borrowed_;    // the caller's, while queue() runs
  base::Chain body_;  // copies that wait
  std::vector<std::pair<std::string, std::string>> trailers_;
  bool has_trailers_ = false;
  bool end_ = false;       // body_ is all there will be
  bool deferred_ = false;  // nghttp2 waits for us to resume
  bool reading_ = true;
  bool was_blocked_ = false;
  bool unblocked_ = false;  // the receiver is told at the end of the turn
  size_t unconsumed_ = 0;   // input not yet given back to the stream's window
};

}  // namespace pinnace::http::h2
