// GrpcCall: one bidirectional gRPC call of our own to a cluster, over the pools that requests use: what the
// configuration calls envoy_grpc. Messages go in and come out whole; how large they may be is for the other side to
// say. THREAD: its cluster's. LIFETIME: destroyed by end(), which says nothing more to Events. ERRORS: closed() once.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "proxy/http/message.h"
#include "proxy/upstream/pool/http_pool.h"

namespace pinnace::upstream {

class GrpcCall final : public base::Deferred, private PoolWaiter, private http::ResponseReceiver {
 public:
  class Events {
   public:
    virtual void on_message(std::string message) = 0;
    // The call is over: its gRPC status and what is known of why.
    virtual void on_closed(int status, std::string why) = 0;

   protected:
    ~Events() = default;
  };

  static constexpr int kUnavailable = 14, kInternal = 13, kUnknown = 2;

  // `path`: "/package.Service/Method". Events may come before it returns.
  static GrpcCall& start(Cluster& cluster, std::string path, Events& events);
  // Ends it, whether or not it is over; it is destroyed at the end of the turn.
  static void end(GrpcCall& call);
  void send(std::string_view message);
  // Bytes that wait for the server to take more. A caller that may send without end looks at them first.
  size_t unsent() const { return unsent_; }

 private:
  GrpcCall(Cluster& cluster, std::string path, Events& events);
  ~GrpcCall() override;

  void connect(Cluster& cluster);
  void flush();
  void close(int status, std::string why);
  void finish(const http::HeaderMap& trailers);
  void let_go_of_host();

  // PoolWaiter
  http::ResponseReceiver& receiver() override { return *this; }
  void on_pool_ready(http::RequestSender& sender, const net::Connection& connection, bool reused) override;
  void on_pool_failure(http::ResetReason reason, std::string_view detail) override;
  bool once_only() const override { return false; }
  bool wants_fresh() const override { return false; }
  // ResponseReceiver
  base::Arena& arena() override { return arena_; }
  http::ResponseHead& next_response() override;
  http::HeaderMap& response_trailers() override { return trailers_; }
  void on_informational(http::ResponseHead&) override {}
  void on_response(http::ResponseHead& head, bool end_stream) override;
  void on_data(http::Bytes data, bool end_stream) override;
  void on_trailers(http::HeaderMap& trailers) override { finish(trailers); }
  void on_reset(http::ResetReason reason, std::string_view detail) override;
  void on_writable() override { flush(); }

  base::EventLoop& loop_;
  std::string path_, authority_;
  Events* events_;  // nullptr: nobody listens any more
  base::Arena arena_;
  http::RequestHead request_;
  http::HeaderMap trailers_;
  HostPtr host_;
  HttpPool* pool_ = nullptr;               // while we wait for a connection
  http::RequestSender* sender_ = nullptr;  // while the call lasts
  std::deque<std::string> outgoing_;       // framed
  size_t unsent_ = 0;                      // their bytes
  std::string incoming_;                   // of the message that is arriving, with its prefix
  size_t wanted_ = kPrefix;                // how long that will be, as far as is known

  static constexpr size_t kPrefix = 5;  // a flag and the length
};

}  // namespace pinnace::upstream
