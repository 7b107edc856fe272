// Session: what the two ends of an HTTP/2 connection (RFC 9113) share on nghttp2: feeding it bytes, gathering the
// frames it makes and writing them once a turn, the limits on what a peer may make us do, and PING keep-alive. THREAD,
// LIFETIME: its connection's. ERRORS: fault() names the limit or rule that ended it.
#pragma once

#include <nghttp2/nghttp2.h>

#include <string_view>
#include <vector>

#include "proxy/http/h2/codec_stats.h"
#include "proxy/http/h2/flood_guard.h"
#include "proxy/http/h2/stream.h"
#include "proxy/net/connection.h"

namespace pinnace::http::h2 {

enum class Side : uint8_t { kServer, kClient };

class Session : private base::TurnTask {
 public:
  // `max_head_bytes`: bounds the CONTINUATION frames of one head. LIFETIME: the settings outlive the session.
  Session(net::Connection& connection, Side side, const model::Http2Settings& settings, uint32_t max_head_bytes,
          const CodecStats& stats);
  virtual ~Session();

  // False on a connection error; GOAWAY is written.
  bool feed(Bytes data);
  void flush_later();
  // Makes frames of what is due and gathers them. REQUIRES: can_pump().
  void pump();
  // The connection is closed: nothing more is read or written.
  void abandon_session() { over_ = true; }
  // Not from within nghttp2's callbacks.
  bool can_pump() const { return !in_nghttp2_ && session_ && !over_; }
  // Tells its receiver at the end of the turn that there is room again.
  void unblock_later(StreamBase& stream);

  nghttp2_session* native() const { return session_; }
  net::Connection& connection() { return connection_; }
  base::BlockPool& blocks() { return loop_.blocks(); }
  stats::Cells& cells() { return loop_.cells(); }
  const CodecStats& stats() const { return stats_; }
  size_t stream_count() const { return stream_count_; }
  // The limit that was broken, for RESPONSE_CODE_DETAILS; empty when none was.
  std::string_view fault() const { return fault_; }

 protected:
  virtual int on_begin_headers(const nghttp2_frame& frame) = 0;
  virtual int on_header(const nghttp2_frame& frame, std::string_view name, std::string_view value) = 0;
  virtual void on_frame(const nghttp2_frame& frame) = 0;
  // DATA on this stream comes too soon and was refused.
  virtual bool on_early_data(StreamBase&) { return false; }
  // nghttp2 neither reads nor writes any more (GOAWAY went either way, or the peer broke the protocol), or the peer
  // does not answer PINGs.
  virtual void on_over() = 0;

  // Remembers the last one: a head's fields come one call each.
  StreamBase* find(int32_t id) {
    if (id != found_id_) {
      found_ = static_cast<StreamBase*>(nghttp2_session_get_stream_user_data(session_, id));
      found_id_ = found_ ? id : -1;
    }
    return found_;
  }
  // Takes the stream. REQUIRES: it is nghttp2's user data for `id`.
  void add(StreamBase& stream, int32_t id);
  // Before a new stream starts: a connection that was silent for long is tried first.
  void note_activity();
  // The stream never got a number; it is destroyed at the end of the turn.
  void discard(StreamBase& stream);
  template <class Visit>
  void each(Visit visit) {
    std::vector<StreamBase*> all;
    for (StreamBase& stream : streams_) all.push_back(&stream);
    for (auto* stream : all) visit(*stream);
  }
  // Writes what is due now. REQUIRES: not from within nghttp2's callbacks.
  void flush();

 private:
  struct Callbacks;

  void run_turn_task() override { flush(); }
  bool full() const { return connection_.write_blocked() || out_.size() >= kMostGathered; }
  void check_outbound();
  void end_over(std::string_view fault);
  void break_off(std::string_view fault);
  void arm_ping();
  void on_ping_timer();
  void send_ping();

  static constexpr size_t kMostGathered = 256 * 1024;

  net::Connection& connection_;
  base::EventLoop& loop_;  // at our end the connection may be gone
  const model::Http2Settings& settings_;
  const CodecStats stats_;  // a copy: a codec may outlive its pool
  nghttp2_session* session_ = nullptr;
  FloodGuard guard_;
  base::IntrusiveList<StreamBase> streams_;
  int32_t found_id_ = -1;
  StreamBase* found_ = nullptr;
  size_t stream_count_ = 0;
  base::Chain out_;  // frames of this turn
  bool in_nghttp2_ = false;
  bool over_ = false;
  bool unblocked_ = false;  // some stream has room again
  bool ping_sent_ = false;  // its answer is awaited
  std::string_view fault_;  // a constant
  uint64_t last_active_ms_;
  base::Timer ping_timer_;
};

// nghttp2's form of a field; it copies both.
nghttp2_nv field(std::string_view name, std::string_view value);
// Appends all fields that HTTP/2 carries (RFC 9113 8.2.2 leaves the hop-by-hop ones out).
void append_fields(const HeaderMap& headers, std::vector<nghttp2_nv>& out);
// Scratch for one message's fields; empty. LIFETIME: until the next call on this thread.
std::vector<nghttp2_nv>& field_scratch();

}  // namespace pinnace::http::h2
