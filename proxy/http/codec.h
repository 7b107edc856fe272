// What a codec and its streams say to each other; the same for h1 and h2, so that nothing in between takes the shape of
// either. A receiver is told what arrives; a sender is told what to send. Codecs are sans-IO but for the Connection
// they write to. THREAD: the connection's worker. LIFETIME: after on_reset(), or once both directions have ended,
// neither side calls the other again.
#pragma once

#include "proxy/base/block_pool.h"
#include "proxy/http/message.h"

namespace pinnace::http {

using base::Bytes;

enum class ResetReason : uint8_t {
  kPeerReset,      // the connection broke
  kPeerClosed,     // FIN before the message was complete
  kProtocolError,  // what the peer sent cannot be understood
  kRemoteStream,   // RST_STREAM on an h2 stream
  kRefused,        // REFUSED_STREAM: not processed, safe to retry
  kConnectFailed,
  kConnectTimeout,
  kTlsFailed,
  kOverflow,  // a circuit breaker is open
  kLocal,     // we gave up
};

class StreamReceiver {
 public:
  virtual ~StreamReceiver() = default;
  virtual void on_data(Bytes data, bool end_stream) = 0;
  virtual void on_trailers(HeaderMap& trailers) = 0;  // ends the stream
  virtual void on_reset(ResetReason reason, std::string_view detail) = 0;
  // The sender of the other direction was blocked() and takes more now.
  virtual void on_writable() = 0;
};

class RequestReceiver : public StreamReceiver {
 public:
  // The codec parses into these.
  virtual base::Arena& arena() = 0;
  virtual RequestHead& request() = 0;
  virtual HeaderMap& request_trailers() = 0;
  virtual void on_request(bool end_stream) = 0;
  // Instead of on_request(): the head was refused. The receiver answers `status`; the connection closes after it.
  virtual void on_bad_request(uint16_t status, std::string_view detail) = 0;
};

class ResponseReceiver : public StreamReceiver {
 public:
  virtual base::Arena& arena() = 0;
  // A fresh head for each response on the stream (1xx, then the final one).
  virtual ResponseHead& next_response() = 0;
  virtual HeaderMap& response_trailers() = 0;
  virtual void on_informational(ResponseHead& head) = 0;
  virtual void on_response(ResponseHead& head, bool end_stream) = 0;
};

class StreamSender {
 public:
  // `data` need only live as long as the dispatch, as for Connection::write().
  virtual void send_data(Bytes data, bool end_stream) = 0;
  virtual void send_trailers(const HeaderMap& trailers) = 0;
  // Gives the stream up. The receiver is not told.
  virtual void reset(ResetReason reason) = 0;
  // Too much waits to be sent; on_writable() will come.
  virtual bool blocked() const = 0;
  // Stops and resumes what arrives on this stream.
  virtual void set_reading(bool on) = 0;

 protected:
  ~StreamSender() = default;
};

class ResponseSender : public StreamSender {
 public:
  virtual void send_informational(const ResponseHead& head) = 0;
  virtual void send_response(const ResponseHead& head, bool end_stream) = 0;

 protected:
  ~ResponseSender() = default;
};

class RequestSender : public StreamSender {
 public:
  virtual void send_request(const RequestHead& head, bool end_stream) = 0;

 protected:
  ~RequestSender() = default;
};

// The downstream end of a connection's codec. LIFETIME: owned by its Owner, ended by it.
class ServerCodec {
 public:
  class Owner {
   public:
    // A message begins: where to parse it to.
    virtual RequestReceiver& new_stream(ResponseSender& sender) = 0;
    // Part of a head came and the rest did not (request_headers_timeout starts).
    virtual void on_partial_head() = 0;
    // The peer broke the protocol of the whole connection; on_codec_done() follows.
    virtual void on_codec_fault(std::string_view detail) = 0;
    // Nothing more will be read or answered: close once everything is sent.
    virtual void on_codec_done() = 0;

   protected:
    ~Owner() = default;
  };

  virtual ~ServerCodec() = default;
  virtual Protocol protocol() const = 0;
  virtual void receive(Bytes data) = 0;
  virtual void receive_eof() = 0;
  // The connection is gone: every stream is told.
  virtual void connection_lost(std::string_view detail) = 0;
  virtual void connection_writable() = 0;
  // The peer should begin no new streams: a first GOAWAY that still takes all, or "connection: close" on the next
  // response.
  virtual void start_drain() = 0;
  // Takes no new streams: the last GOAWAY. The connection ends with its last stream.
  virtual void finish_drain() {}
  virtual bool idle() const = 0;
  // The connection is about to be closed: what waits is written; nothing more is told to anyone.
  virtual void abandon() = 0;
  // A refused head is answered for a request that never came whole (408).
  virtual void reject_partial_head(uint16_t status, std::string_view detail) = 0;
};

// The upstream end. LIFETIME: owned by its Owner (a pooled connection).
class ClientCodec {
 public:
  class Owner {
   public:
    // One stream has ended in both directions. With `reusable` the connection takes another.
    virtual void on_stream_end(bool reusable) = 0;
    // The peer takes no new streams (GOAWAY) or spoke out of turn.
    virtual void on_draining() = 0;
    // max_streams() may have changed.
    virtual void on_capacity() {}

   protected:
    ~Owner() = default;
  };

  virtual ~ClientCodec() = default;
  virtual Protocol protocol() const = 0;
  // REQUIRES: streams() < max_streams(). The sender lives until the stream's end.
  virtual RequestSender& new_stream(ResponseReceiver& receiver) = 0;
  virtual uint32_t max_streams() const = 0;
  virtual uint32_t streams() const = 0;
  virtual void receive(Bytes data) = 0;
  virtual void receive_eof() = 0;
  virtual void connection_lost(ResetReason reason, std::string_view detail) = 0;
  virtual void connection_writable() = 0;
};

}  // namespace pinnace::http
