// Connection: one stream socket, downstream or upstream, raw or TLS. Reads into the loop's scratch memory and hands the
// bytes on at once; gathers what is written during a dispatch and sends it with one system call at its end; only what
// the socket does not take is copied. Watermarks bound that copy. THREAD: its worker's. LIFETIME: owned by its user,
// who ends it with one of the three static functions below. ERRORS: on_close() once, with what failed; never after the
// user ended the connection.
#pragma once

#include <memory>
#include <string>

#include "proxy/base/address.h"
#include "proxy/base/event_loop.h"
#include "proxy/net/prologue.h"
#include "proxy/net/socket.h"
#include "proxy/net/transport.h"

namespace pinnace::net {

enum class CloseReason : uint8_t {
  kNone,
  kPeerReset,         // RST or another socket error while open
  kConnectFailed,     // refused, unreachable, no route
  kConnectTimeout,    // cluster.connect_timeout
  kTlsFailed,         // handshake or record error; failure_text() says which
  kHandshakeTimeout,  // transport_socket_connect_timeout
};

class ConnectionCallbacks {
 public:
  virtual ~ConnectionCallbacks() = default;
  // The socket is connected and, with TLS, the handshake is done.
  virtual void on_ready() {}
  // REQUIRES of the callee: takes all of it. The memory is scratch: valid until the callee returns, and, when written
  // to another connection, until that one has sent or kept it.
  virtual void on_data(Bytes data) = 0;
  // The peer sends no more (FIN or close_notify). Writing is still possible.
  virtual void on_eof() = 0;
  // What waited to be sent fell below the low watermark after write_blocked() had been true.
  virtual void on_writable() {}
  virtual void on_close(CloseReason reason) = 0;
};

// Cells a connection counts its bytes in.
struct ByteStats {
  stats::Counter rx_bytes, tx_bytes;
};

class Connection final : public base::EventHandler, public base::Deferred {
 public:
  static constexpr uint32_t kDefaultBufferLimit = 1024 * 1024;  // per_connection_buffer_limit_bytes

  // Takes over an accepted socket. on_ready() comes after start().
  Connection(base::EventLoop& loop, int fd, const base::Address& local, const base::Address& remote);
  // Starts to connect. on_ready() or on_close() comes later, never from here.
  static std::unique_ptr<Connection> connect(base::EventLoop& loop, const base::Address& remote, const Source& source,
                                             uint64_t timeout_ms);
  ~Connection() override;

  // REQUIRES: before start() (accepted) or in the turn of connect().
  void set_transport(std::unique_ptr<SecureTransport> transport) { secure_ = std::move(transport); }
  // Sent before all else, in clear. REQUIRES: in the turn of connect(); a few hundred bytes at most.
  void set_preamble(std::string bytes) { preamble_ = std::move(bytes); }
  // REQUIRES: before start() (accepted) or in the turn of connect().
  void set_prologue(std::unique_ptr<Prologue> prologue) { prologue_ = std::move(prologue); }
  // nullptr: there is none, or nothing is said on this connection.
  const Prologue* prologue() const { return prologue_.get(); }
  void set_callbacks(ConnectionCallbacks& callbacks) { callbacks_ = &callbacks; }
  void set_byte_stats(const ByteStats* stats) { byte_stats_ = stats; }
  void set_buffer_limit(uint32_t limit) { buffer_limit_ = limit; }
  // Begins to read; with TLS to shake hands within `handshake_timeout_ms` (0: no limit).
  void start(uint64_t handshake_timeout_ms);

  // Queues bytes that stay valid until the current dispatch ends (scratch, turn memory, arenas, constants). Little is
  // sent when the turn ends (EventLoop::send_at_turn_end), much when the dispatch does.
  void write(Bytes data);
  // Queues blocks of the loop's pool, which the connection keeps.
  void write(base::Chain&& data);
  // Sends the queue now rather than at the end of the dispatch.
  void flush();
  bool write_blocked() const { return blocked_; }
  size_t unsent() const { return queued_ + chain_.size() + (secure_ ? secure_->output_size() : 0); }
  // No more writes will come: FIN (and close_notify) once everything is sent.
  void shutdown_write();

  // Stops and resumes on_data(); bytes then wait in the kernel and slow the peer down.
  void set_reading(bool on);
  bool reading() const { return reading_; }
  bool at_eof() const { return eof_; }

  // Closes at once; RST when `reset`. The callbacks hear nothing more.
  static void close(std::unique_ptr<Connection> connection, bool reset = false);
  // Sends the queue, then FIN, then waits up to `delay_ms` for the peer's FIN, so that a final answer is not lost to a
  // reset (RFC 9112 9.6; delayed_close_timeout).
  static void close_after_flush(std::unique_ptr<Connection> connection, uint64_t delay_ms);
  static constexpr uint64_t kDelayedCloseMs = 1000;

  int fd() const { return fd_; }
  const base::Address& local_address() const { return local_; }
  const base::Address& remote_address() const { return remote_; }
  void set_local_address(const base::Address& local) { local_ = local; }
  const TlsInfo* tls() const { return secure_ ? &secure_->info() : nullptr; }
  TlsFault tls_fault() const { return secure_ ? secure_->fault() : TlsFault::kNone; }
  bool handshake_done() const { return !secure_ || secure_->handshake_done(); }
  // What went wrong, for UPSTREAM_TRANSPORT_FAILURE_REASON and logs.
  std::string failure_text() const;
  uint64_t bytes_received() const { return bytes_received_; }
  uint64_t bytes_sent() const { return bytes_sent_; }
  base::EventLoop& loop() { return loop_; }

  void on_event(uint32_t events) override;

 private:
  enum class State : uint8_t { kConnecting, kHandshake, kOpen, kLingering, kClosed };

  struct WriteTask final : base::TurnTask {
    explicit WriteTask(Connection& c) : connection(c) {}
    void run_turn_task() override { connection.flush_or_hold(); }
    Connection& connection;
  };
  struct ReadTask final : base::TurnTask {
    explicit ReadTask(Connection& c) : connection(c) {}
    void run_turn_task() override { connection.read_more(); }
    Connection& connection;
  };

  void read_more();
  void deliver(Bytes data);
  std::string failure_words() const;
  bool deliver_secure(Bytes cipher);
  void finish_connect();
  void begin_transport();
  void become_open();
  bool send_preamble();
  void fail(CloseReason reason, int error);
  void close_socket(bool reset);
  void on_timer();
  void note_eof();
  void schedule_write();
  void flush_or_hold();
  void flush_raw();
  void flush_secure(bool hold);
  bool send_secure_output();
  bool send_chain();
  void after_flush();
  void keep_pieces(size_t first, size_t skip);
  void end_lingering();

  static constexpr size_t kMaxPieces = 6;

  base::EventLoop& loop_;
  ConnectionCallbacks* callbacks_ = nullptr;
  std::unique_ptr<SecureTransport> secure_;
  const ByteStats* byte_stats_ = nullptr;
  base::Timer timer_;
  WriteTask write_task_{*this};
  ReadTask read_task_{*this};
  base::Chain chain_;         // unsent copies, before pieces_
  Bytes pieces_[kMaxPieces];  // borrowed, sent or copied when the dispatch ends
  uint8_t piece_count_ = 0;
  State state_;
  CloseReason close_reason_ = CloseReason::kNone;
  bool reading_ = true;
  bool readable_ = false;  // edge seen, socket not yet drained
  bool hung_up_ = false;   // EPOLLRDHUP or EPOLLHUP seen: read on until FIN
  bool eof_ = false;
  bool blocked_ = false;
  bool socket_full_ = false;  // the last send met EAGAIN; EPOLLOUT will come
  bool held_ = false;         // what waits is in the loop's outbox until the turn ends
  bool write_shut_ = false;   // shutdown_write() asked for
  bool fin_sent_ = false;
  bool reported_open_ = false;
  bool prologue_over_ = false;
  bool secure_more_ = false;  // the transport kept input when reading stopped
  int fd_;
  int error_ = 0;
  uint32_t buffer_limit_ = kDefaultBufferLimit;
  uint32_t linger_ms_ = 0;
  uint64_t handshake_timeout_ms_ = 0;
  size_t queued_ = 0;  // bytes in pieces_
  uint64_t bytes_received_ = 0, bytes_sent_ = 0;
  base::Address local_, remote_;
  std::string preamble_;
  std::unique_ptr<Prologue> prologue_;
};

}  // namespace pinnace::net
