// Context: one OpenSSL SSL_CTX with its certificates and trust, made when all its secrets are there; ContextTable: a
// worker's contexts by id and the client sessions it may resume. A rotated secret makes a new Context; connections keep
// the one they began with.
// THREAD: Context is made on the compile thread and then only read; the table belongs to its worker.
#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "proxy/base/event_loop.h"
#include "proxy/model/tls.h"
#include "proxy/net/transport.h"

namespace pinnace::tls {

// What /certs shows of one certificate.
struct CertificateFacts {
  std::string path;  // file name or "<inline>"
  std::string serial;
  std::vector<std::string> uri_sans, dns_sans, ip_sans;
  int64_t valid_from = 0, valid_until = 0;  // seconds since the epoch
};

// The secrets a context was asked to use, resolved.
struct ResolvedSecrets {
  std::vector<model::CertificatePem> certificates;
  model::ValidationPem validation;
  bool has_validation = false;
};

// Whether versions, ciphers, curves and signature algorithms can be used, whatever the secrets will be. ERRORS: which
// cannot.
Result<bool> check_parameters(const model::TlsContextSpec& spec);

class Context {
 public:
  // ERRORS: names what is wrong with the PEM or the parameters.
  static Result<std::shared_ptr<const Context>> make(const model::TlsContextSpec& spec, const ResolvedSecrets& secrets);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  SSL_CTX* native() const { return native_; }
  const model::TlsContextSpec& spec() const { return spec_; }
  const std::vector<CertificateFacts>& chain_facts() const { return chain_facts_; }
  const std::vector<CertificateFacts>& ca_facts() const { return ca_facts_; }
  const std::vector<std::string>& local_uri_sans() const { return local_uri_sans_; }
  // Differs between any two contexts of the process; part of the key under which sessions are kept.
  uint64_t generation() const { return generation_; }
  // The OCSP response to send with that certificate; nullptr: none that is current.
  const std::string* staple_of(X509* certificate, int64_t now_s) const;

 private:
  Context() = default;

  SSL_CTX* native_ = nullptr;
  model::TlsContextSpec spec_;
  std::vector<CertificateFacts> chain_facts_, ca_facts_;
  std::vector<std::string> local_uri_sans_;
  struct Staple {
    std::string certificate, der;  // the former's sha256_of()
    int64_t valid_until = 0;
  };
  std::vector<Staple> staples_;
  uint64_t generation_ = 0;
};

using ContextPtr = std::shared_ptr<const Context>;

class ContextTable {
 public:
  ContextTable() = default;
  ~ContextTable();

  // nullptr: the secrets of that context have not come; no handshake may begin (fail closed).
  const ContextPtr& find(uint32_t id) const {
    static const ContextPtr kNone;
    return id < contexts_.size() ? contexts_[id] : kNone;
  }
  void set(uint32_t id, ContextPtr context);

  // A session to resume under this key, or nullptr; it is taken out (TLS 1.3 tickets are used once).
  SSL_SESSION* take_session(uint64_t key) const;
  // Takes ownership of `session`.
  void keep_session(uint64_t key, SSL_SESSION* session, uint32_t max) const;

 private:
  static constexpr size_t kMaxSessions = 4096;

  std::vector<ContextPtr> contexts_;
  mutable std::unordered_map<uint64_t, std::list<SSL_SESSION*>> sessions_;
  mutable size_t session_count_ = 0;
};

struct ClientOptions {
  std::string sni;                // empty: from UpstreamTls
  std::vector<std::string> alpn;  // empty: from UpstreamTls
  std::string expected_san;       // auto_san_validation: a name or an IP address
  uint64_t session_scope = 0;     // which server: sessions of one are no use to another
};

// REQUIRES: `tls` and `table` outlive the transport's connection (a cluster pins them).
std::unique_ptr<net::SecureTransport> make_client(base::EventLoop& loop, const ContextTable& table, ContextPtr context,
                                                  std::shared_ptr<const model::UpstreamTls> tls,
                                                  const ClientOptions& options);
std::unique_ptr<net::SecureTransport> make_server(base::EventLoop& loop, ContextPtr context, bool wants_peer_pem);
// A transport that fails at once: for connections whose context is not there yet.
std::unique_ptr<net::SecureTransport> make_unready(std::string why);

}  // namespace pinnace::tls
