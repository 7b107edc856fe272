// The network filter contract. A chain's last filter is terminal: it makes a Session, which owns the connection from
// the first byte after the listener filters to its end.
#pragma once

#include <memory>

#include "proxy/base/intrusive_list.h"
#include "proxy/base/local_ref.h"
#include "proxy/filter/worker_context.h"
#include "proxy/http/stream_info.h"
#include "proxy/model/extension.h"
#include "proxy/model/listener.h"
#include "proxy/net/connection.h"
#include "proxy/net/connection_limit.h"

namespace pinnace::filter {

// What owns the sessions of one listener on one worker.
class SessionOwner {
 public:
  virtual void session_ended(class Session& session) = 0;

 protected:
  ~SessionOwner() = default;
};

// A connection that has passed the listener filters and found its chain.
struct Accepted {
  std::unique_ptr<net::Connection> connection;
  base::LocalRef<model::FilterChain> chain;
  std::shared_ptr<const model::ListenerConfig> listener;
  base::Address original_destination;  // kNone when the connection was not redirected
  base::Address direct_remote;         // the socket's peer, where the PROXY protocol named another client; else kNone
  std::string server_name;             // SNI as the inspector saw it
  net::Source source;                  // original_src: where connections for it come from; else without an address
  SessionOwner* owner = nullptr;
  net::ConnectionSlot slot;
};

// One downstream connection with its chain. THREAD: its worker's. LIFETIME: in its owner's list until it calls
// session_ended(), which destroys it at the end of the turn.
class Session : public base::Deferred {
 public:
  explicit Session(Accepted&& accepted) : accepted_(std::move(accepted)) {}
  virtual void start() = 0;
  // Lets work in progress finish but begins nothing new. With `close_idle` a session without work ends now.
  virtual void drain(bool close_idle) = 0;
  // Ends now.
  virtual void close() = 0;

  const model::FilterChain& chain() const { return *accepted_.chain; }
  const Accepted& accepted() const { return accepted_; }
  // %DOWNSTREAM_DIRECT_REMOTE_ADDRESS%
  const base::Address& direct_remote() const {
    bool told = accepted_.direct_remote.kind() != base::Address::Kind::kNone;
    return told ? accepted_.direct_remote : accepted_.connection->remote_address();
  }

 protected:
  net::Connection& connection() { return *accepted_.connection; }
  // The listener's TLS stats: once a handshake is done, or for a connection that ended because of TLS.
  void note_tls_ready(stats::Cells& cells) {
    const net::TlsInfo* tls = connection().tls();
    if (!tls) return;
    cells.add(accepted_.listener->stats.ssl_handshake);
    if (tls->resumed) cells.add(accepted_.listener->stats.ssl_session_reused);
  }
  void note_tls_failure(net::CloseReason reason, stats::Cells& cells) {
    if (reason != net::CloseReason::kTlsFailed) return;
    const model::ListenerStats& stats = accepted_.listener->stats;
    switch (connection().tls_fault()) {
      case net::TlsFault::kNone: break;
      case net::TlsFault::kOther: cells.add(stats.ssl_connection_error); break;
      case net::TlsFault::kNoCertificate: cells.add(stats.ssl_fail_verify_no_cert); break;
      case net::TlsFault::kUntrusted: cells.add(stats.ssl_fail_verify_error); break;
      case net::TlsFault::kWrongName: cells.add(stats.ssl_fail_verify_san); break;
    }
  }

  Accepted accepted_;
};

// A connection that tcp_proxy relays, as those see it who watch it.
class TcpStream {
 public:
  virtual WorkerContext& worker() const = 0;
  virtual const http::StreamInfo& info() const = 0;
  virtual const net::Connection& downstream() const = 0;
  virtual const net::Connection* upstream() const = 0;  // nullptr: there is none (yet)
  virtual model::ClusterPtr cluster() const = 0;        // nullptr likewise

 protected:
  ~TcpStream() = default;
};

// A filter that only watches, from the connection's acceptance to its end.
class TcpObserver {
 public:
  virtual ~TcpObserver() = default;
  // The info is complete; the connections are still there.
  virtual void on_end() = 0;
};

class TcpObserverConfig {
 public:
  virtual ~TcpObserverConfig() = default;
  // LIFETIME: the stream outlives the observer.
  virtual std::unique_ptr<TcpObserver> observe(const TcpStream& stream) const = 0;
};

class NetworkFilterConfig {
 public:
  virtual ~NetworkFilterConfig() = default;
  // It has TcpStreams for observers.
  virtual bool can_be_observed() const { return false; }
  virtual std::unique_ptr<Session> create(WorkerContext& worker, Accepted&& accepted) const = 0;
  // The route configurations (RDS names) that must be there before the chain serves.
  virtual void route_dependencies(std::vector<model::RouteRef>&) const {}
  // Filters of it that come by ECDS.
  virtual void extension_places(std::vector<model::ExtensionPlace>&) const {}
  // The client's certificate itself is passed on (x-forwarded-client-cert Cert=).
  virtual bool wants_peer_certificate() const { return false; }
};

}  // namespace pinnace::filter
