// Session: what the two ends of an HTTP/2 connection (RFC 9113) share on nghttp2: feeding it bytes, gathering what it
// has to send once per turn, streams with bounded output, and flow control that follows the receiver. THREAD, LIFETIME:
// its connection's. A stream is destroyed at the end of the turn in which nghttp2 closed it.
#pragma once

#include <nghttp2/nghttp2.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "proxy/http/codec.h"
#include "proxy/model/cluster.h"
#include "proxy/net/connection.h"

namespace pinnace::http::h2 {

class Session;

// One stream: what waits to be sent on it and how far its receiver lets the peer go.
class StreamBase : public base::Deferred {
 public:
  static constexpr size_t kHighWatermark = 256 * 1024;

  StreamBase(Session& session, int32_t id);

  int32_t id() const { return id_; }
  // The connection is gone: nothing more is sent.
  void dead_now() { dead_ = true; }

 protected:
  friend class Session;

  void queue(Bytes data, bool end);
  void queue_trailers(const HeaderMap& trailers);
  void stop(uint32_t error_code);
  bool output_blocked() const { return body_.size() > kHighWatermark; }
  void allow_reading(bool on);
  virtual StreamReceiver* receiver() = 0;
  virtual void closed(uint32_t error_code) = 0;
  // The last frame of our direction went out.
  virtual void output_ended() {}

  Session& session_;
  int32_t id_;
  base::Chain body_;
  std::vector<std::pair<std::string, std::string>> trailers_;  // of our direction
  bool has_trailers_ = false;
  bool end_ = false;       // body_ is all there will be
  bool deferred_ = false;  // nghttp2 waits for us to resume
  bool reading_ = true;
  bool was_blocked_ = false;
  bool dead_ = false;
  size_t unconsumed_ = 0;  // input not yet given back to the windows
};

class Session : private base::TurnTask {
 public:
  Session(net::Connection& connection, bool server, const model::Http2Settings& settings);
  virtual ~Session();

  // False on a connection error; GOAWAY is queued.
  bool feed(Bytes data);
  void flush_later();
  nghttp2_session* native() const { return session_; }
  net::Connection& connection() { return connection_; }
  base::BlockPool& blocks() { return connection_.loop().blocks(); }
  size_t stream_count() const { return streams_.size(); }
  nghttp2_data_provider provider(StreamBase& stream);
  void add(std::unique_ptr<StreamBase> stream);
  void resume_outputs();

 protected:
  virtual int on_begin_headers(const nghttp2_frame& frame) = 0;
  virtual int on_header(const nghttp2_frame& frame, std::string_view name, std::string_view value) = 0;
  virtual void on_frame(const nghttp2_frame& frame) = 0;
  // nghttp2 neither reads nor writes any more: GOAWAY went either way, or the peer broke the protocol.
  virtual void on_over() = 0;
  StreamBase* find(int32_t id) const;
  template <class Visit>
  void each(Visit visit) {
    std::vector<StreamBase*> all;
    for (auto& [id, stream] : streams_) all.push_back(stream.get());
    for (auto* stream : all) visit(*stream);
  }

 private:
  friend class StreamBase;
  struct Callbacks;

  void run_turn_task() override { flush(); }
  void flush();
  ssize_t read_body(StreamBase& stream, uint8_t* to, size_t room, uint32_t* flags);

  net::Connection& connection_;
  nghttp2_session* session_ = nullptr;
  bool over_ = false;
  std::unordered_map<int32_t, std::unique_ptr<StreamBase>> streams_;
};

// nghttp2's form of a field; it copies both.
nghttp2_nv field(std::string_view name, std::string_view value);
// All fields that HTTP/2 carries (RFC 9113 8.2.2 leaves the hop-by-hop ones out).
void append_fields(const HeaderMap& headers, std::vector<nghttp2_nv>& out);

}  // namespace pinnace::http::h2
