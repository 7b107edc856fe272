// The HTTP filter contract. A filter's Config is compiled once and shared; its HttpFilter lives in the stream's arena
// for one request. Requests pass the filters in order, responses in reverse. Returning kHold stops the request there
// until the filter calls resume(); a reply ends it, and passes the filters as a response too. A filter may put other
// bytes in the place of `data`; writes borrow them until the turn ends (EventLoop::turn_memory(), flush_writes()).
// After on_destroy() nothing calls a filter and it calls nothing. THREAD: the stream's worker.
#pragma once

#include <memory>
#include <new>

#include "proxy/filter/filter_state.h"
#include "proxy/filter/worker_context.h"
#include "proxy/http/codec.h"
#include "proxy/http/stream_info.h"
#include "proxy/model/route.h"
#include "proxy/net/connection.h"

namespace pinnace::filter {

enum class Next : uint8_t { kContinue, kHold };

struct LocalReply {
  uint16_t status = 500;
  std::string_view body = {};
  std::string_view details = {};  // response code details; lives as long as the stream
  http::Flags flags = 0;
  std::string_view extra_name = {}, extra_value = {};  // one more response header
  bool close = false;                                  // the connection closes after it
  static constexpr uint8_t kByHttpStatus = 255;
  uint8_t grpc_status = kByHttpStatus;  // for gRPC clients
};

// What a stream offers to its filters.
class HttpStream {
 public:
  virtual WorkerContext& worker() = 0;
  virtual base::Arena& arena() = 0;
  virtual http::RequestHead& request() = 0;
  virtual http::StreamInfo& info() = 0;
  virtual FilterState& state() = 0;
  virtual const model::Route* route() = 0;
  // One of the route's clusters, which may not exist; nullptr where the route has none.
  virtual const model::WeightedCluster* cluster_choice() = 0;
  virtual const net::Connection& downstream() = 0;
  // Where iptables took the connection from, else where it came in.
  virtual const base::Address& destination() = 0;
  // original_src: where upstream connections for it come from; else without an address.
  virtual const net::Source& source() = 0;
  virtual uint32_t buffer_limit() = 0;
  virtual bool request_ended() const = 0;

  // Goes on after kHold, with the filter after the one that held.
  virtual void resume() = 0;
  // Answers in place of an upstream; when a response has begun, breaks it off.
  virtual void local_reply(const LocalReply& reply) = 0;

  // For the terminal filter: the upstream's response.
  virtual void send_informational(http::ResponseHead& head) = 0;
  virtual void send_response(http::ResponseHead& head, bool end_stream) = 0;
  virtual void send_response_data(http::Bytes data, bool end_stream) = 0;
  virtual void send_response_trailers(http::HeaderMap& trailers) = 0;
  virtual bool response_started() const = 0;
  virtual bool response_blocked() const = 0;
  virtual void set_request_reading(bool on) = 0;

 protected:
  ~HttpStream() = default;
};

// Bytes that a filter has left when the response's trailers come.
struct Tail {
  http::Bytes before;   // the body's last, ahead of the trailers
  http::Bytes instead;  // they end the response in the place of the trailers
};

class HttpFilter {
 public:
  virtual ~HttpFilter() = default;
  virtual Next on_request(bool /*end_stream*/) { return Next::kContinue; }
  virtual void on_request_data(http::Bytes& /*data*/, bool /*end_stream*/) {}
  virtual void on_request_trailers(http::HeaderMap& /*trailers*/) {}
  // kHold keeps the head here until on_response_data() lets data go on, or the trailers come. Not with end_stream.
  virtual Next on_response_head(http::ResponseHead& /*head*/, bool /*end_stream*/) { return Next::kContinue; }
  // kHold: these bytes go no further, whatever becomes of them. Not with end_stream.
  virtual Next on_response_data(http::Bytes& /*data*/, bool /*end_stream*/) { return Next::kContinue; }
  virtual void on_response_trailers(http::HeaderMap& /*trailers*/, Tail& /*tail*/) {}
  // The client takes more of the response again.
  virtual void on_response_writable() {}
  // The stream ends: by completion, reset or reply.
  virtual void on_destroy() {}
  // Its info is complete, as access logs see it: once, after on_destroy().
  virtual void on_log() {}
};

class HttpFilterConfig {
 public:
  virtual ~HttpFilterConfig() = default;
  // In the stream's arena; the stream calls the destructor.
  virtual HttpFilter* create(HttpStream& stream) const = 0;
};

template <class Filter, class... Args>
Filter* make_in_arena(base::Arena& arena, Args&&... args) {
  return new (arena.take(sizeof(Filter), alignof(Filter))) Filter(std::forward<Args>(args)...);
}

}  // namespace pinnace::filter
