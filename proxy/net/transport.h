// SecureTransport: what turns a connection's bytes into plain bytes and back (TLS). Sans-IO: ciphertext in and out by
// memory; Connection does the system calls. The only implementation lives in tls/; a raw connection has none.
// THREAD: the connection's worker. ERRORS: a failed step leaves failure_reason() set; the connection closes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/block_pool.h"

namespace pinnace::net {

using base::Bytes;

// Facts about a finished handshake, for routing, XFCC and logs.
struct TlsInfo {
  std::string alpn;
  std::string sni;
  std::string version;  // "TLSv1.3"
  std::string cipher;
  std::vector<std::string> peer_uri_sans;
  std::vector<std::string> peer_dns_sans;
  std::string peer_subject;      // RFC 2253
  std::string peer_sha256;       // of the certificate, lower-case hex
  std::string peer_certificate;  // PEM, URL-encoded; only filled when asked for by XFCC
  std::string peer_chain;        // the same of all that the peer sent, its own first
  std::string peer_serial;
  std::vector<std::string> local_uri_sans;
  bool peer_certificate_presented = false;
  bool resumed = false;
};

// What a failed handshake failed by, for stats.
enum class TlsFault : uint8_t { kNone, kOther, kNoCertificate, kUntrusted, kWrongName };

class SecureTransport {
 public:
  enum class Status : uint8_t {
    kOk,      // go on
    kClosed,  // the peer said it will send no more (close_notify)
    kFailed,  // see failure_reason()
  };

  virtual ~SecureTransport() = default;

  // Takes ciphertext; decrypts at most `room` bytes into `plain`, `produced` says how many. Ciphertext not yet used is
  // kept inside. Call again with an empty `cipher` while `more` is true.
  virtual Status receive(Bytes cipher, uint8_t* plain, size_t room, size_t& produced, bool& more) = 0;
  // Called when reading stops early: ciphertext not yet used must survive the scratch memory.
  virtual void keep_input() = 0;
  // Encrypts all of `plain`. REQUIRES: handshake_done().
  virtual Status send(Bytes plain) = 0;
  // Starts (client) or goes on with the handshake.
  virtual Status handshake() = 0;
  virtual bool handshake_done() const = 0;
  // Queues a close_notify.
  virtual void shutdown() = 0;

  // Ciphertext waiting to be sent.
  virtual Bytes output() const = 0;
  virtual void output_consumed(size_t n) = 0;
  // Called when a turn ends: what output() still holds must survive the scratch memory.
  virtual void keep_output() = 0;
  // Puts it into the loop's outbox, where it lives until the turn ends. False: there is none, or no room.
  virtual bool hold_output() = 0;
  virtual size_t output_size() const = 0;

  virtual const TlsInfo& info() const = 0;
  virtual const std::string& failure_reason() const = 0;
  virtual TlsFault fault() const = 0;
};

}  // namespace pinnace::net
