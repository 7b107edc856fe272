#include "tls/transport.h"

#include <openssl/bio.h>
#include <openssl/err.h>

#include <algorithm>
#include <cstring>

#include "tls/certificate.h"
#include "tls/verify.h"

namespace pinnace::tls {
namespace {

BIO_METHOD* bio_method() {
  static BIO_METHOD* method = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pinnace");
    BIO_meth_set_read(m, [](BIO* bio, char* to, int size) {
      BIO_clear_retry_flags(bio);
      int n = static_cast<Transport*>(BIO_get_data(bio))->bio_read(to, size);
      if (n < 0) BIO_set_retry_read(bio);
      return n;
    });
    BIO_meth_set_write(m, [](BIO* bio, const char* from, int size) {
      BIO_clear_retry_flags(bio);
      return static_cast<Transport*>(BIO_get_data(bio))->bio_write(from, size);
    });
    BIO_meth_set_ctrl(m, [](BIO*, int command, long, void*) -> long { return command == BIO_CTRL_FLUSH ? 1 : 0; });
    return m;
  }();
  return method;
}

// SSL_get_error() looks at the thread's queue first: it must be empty before each operation.
void forget_errors() {
  if (ERR_peek_error() != 0) ERR_clear_error();
}

}  // namespace

int Transport::index() {
  static int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

Transport& Transport::of(const SSL* ssl) { return *static_cast<Transport*>(SSL_get_ex_data(ssl, index())); }

Transport::Transport(base::EventLoop& loop, ContextPtr context, bool server)
    : loop_(loop),
      context_(std::move(context)),
      ssl_(SSL_new(context_->native())),
      kept_(loop.blocks()),
      out_(loop.blocks()),
      server_(server) {
  if (!ssl_) throw std::bad_alloc();
  BIO* bio = BIO_new(bio_method());
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_ex_data(ssl_, index(), this);
  if (server) {
    SSL_set_accept_state(ssl_);
  } else {
    SSL_set_connect_state(ssl_);
  }
}

Transport::~Transport() {
  // Without this OpenSSL takes an end without close_notify for a reason to forget the session.
  if (done_ && failure_.empty()) SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(ssl_);
}

void Transport::set_client(const ContextTable& table, std::shared_ptr<const model::UpstreamTls> tls,
                           const ClientOptions& options) {
  table_ = &table;
  tls_ = std::move(tls);
  expected_san_ = options.expected_san;
  const std::string& sni = options.sni.empty() ? tls_->sni : options.sni;
  if (!sni.empty()) SSL_set_tlsext_host_name(ssl_, sni.c_str());
  const auto& alpn = options.alpn.empty() ? tls_->alpn : options.alpn;
  std::string wire;
  for (const auto& name : alpn) {
    wire += static_cast<char>(name.size());
    wire += name;
  }
  if (!wire.empty()) {
    SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(wire.data()), static_cast<unsigned>(wire.size()));
  }
  session_key_ = tls_->session_key ^ (context_->generation() * 0x9E3779B97F4A7C15ull) ^ options.session_scope ^
                 std::hash<std::string>{}(sni + wire) ^ std::hash<std::string>{}(expected_san_ + "=");
  if (tls_->max_session_keys > 0) {
    if (SSL_SESSION* session = table.take_session(session_key_)) {
      SSL_set_session(ssl_, session);
      SSL_SESSION_free(session);
    }
  }
}

void Transport::new_session(SSL_SESSION* session) {
  if (table_ && tls_ && tls_->max_session_keys > 0) {
    table_->keep_session(session_key_, session, tls_->max_session_keys);
  } else {
    SSL_SESSION_free(session);
  }
}

std::string Transport::check_peer(X509* certificate) const {
  const auto& spec = context_->spec();
  std::string why = check_sans(certificate, tls_ ? tls_->sans : spec.server_sans);
  if (why.empty()) why = check_pins(certificate, spec.verify_certificate_hash, spec.verify_certificate_spki);
  if (why.empty() && !expected_san_.empty()) {
    using Kind = model::StringMatcher::Kind;
    why = check_sans(certificate,
                     {{model::SanType::kAny, model::StringMatcher::literal(Kind::kExact, expected_san_, false)}});
  }
  return why;
}

int Transport::bio_read(char* to, int size) {
  int copied = 0;
  while (copied < size && !kept_.empty()) {
    net::Bytes front = kept_.front();
    size_t n = std::min(front.size(), static_cast<size_t>(size - copied));
    std::memcpy(to + copied, front.data(), n);
    kept_.drain(n);
    copied += static_cast<int>(n);
  }
  size_t n = std::min(in_.size(), static_cast<size_t>(size - copied));
  if (n > 0) std::memcpy(to + copied, in_.data(), n);
  in_ = in_.subspan(n);
  copied += static_cast<int>(n);
  return copied > 0 ? copied : -1;
}

int Transport::bio_write(const char* from, int size) {
  auto n = static_cast<size_t>(size);
  if (out_.empty() && held_.empty() && scratch_used_ + n <= base::EventLoop::kReadSize) {
    std::memcpy(loop_.cipher_scratch() + scratch_used_, from, n);
    scratch_used_ += n;
    return size;
  }
  keep_output();
  out_.append({reinterpret_cast<const uint8_t*>(from), n});
  return size;
}

net::Bytes Transport::output() const {
  if (!held_.empty()) return held_;
  if (!out_.empty()) return out_.front();
  return {loop_.cipher_scratch(), scratch_used_};
}

void Transport::output_consumed(size_t n) {
  if (!held_.empty()) {
    held_ = held_.subspan(n);
    return;
  }
  if (!out_.empty()) return out_.drain(n);
  if (n < scratch_used_) {
    out_.append({loop_.cipher_scratch() + n, scratch_used_ - n});
  }
  scratch_used_ = 0;
}

void Transport::keep_output() {
  out_.append(held_);
  held_ = {};
  if (scratch_used_ == 0) return;
  out_.append({loop_.cipher_scratch(), scratch_used_});
  scratch_used_ = 0;
}

bool Transport::hold_output() {
  if (!out_.empty() || !held_.empty() || scratch_used_ == 0) return false;
  uint8_t* to = loop_.outbox(scratch_used_);
  if (!to) return false;
  std::memcpy(to, loop_.cipher_scratch(), scratch_used_);
  held_ = {to, std::exchange(scratch_used_, 0)};
  return true;
}

void Transport::keep_input() {
  kept_.append(in_);
  in_ = {};
}

Transport::Status Transport::handshake() {
  if (done_) return Status::kOk;
  forget_errors();
  int result = SSL_do_handshake(ssl_);
  if (result == 1) {
    finish();
    return Status::kOk;
  }
  int why = SSL_get_error(ssl_, result);
  return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? Status::kOk : failed();
}

Transport::Status Transport::receive(net::Bytes cipher, uint8_t* plain, size_t room, size_t& produced, bool& more) {
  in_ = cipher;
  produced = 0;
  more = false;
  if (!done_) {
    Status status = handshake();
    if (status != Status::kOk || !done_) return status;
    // The owner hears of the finished handshake before it hears any data.
    keep_input();
    more = true;
    return Status::kOk;
  }
  while (produced < room) {
    forget_errors();
    size_t n = 0;
    if (SSL_read_ex(ssl_, plain + produced, room - produced, &n) == 1) {
      produced += n;
      // Asking in vain would cost OpenSSL a record buffer.
      if (in_.empty() && kept_.empty() && SSL_has_pending(ssl_) == 0) return Status::kOk;
      continue;
    }
    switch (SSL_get_error(ssl_, 0)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE: return Status::kOk;
      case SSL_ERROR_ZERO_RETURN: return Status::kClosed;
      default: return failed();
    }
  }
  keep_input();
  more = true;
  return Status::kOk;
}

Transport::Status Transport::send(net::Bytes plain) {
  while (!plain.empty()) {
    forget_errors();
    size_t n = 0;
    if (SSL_write_ex(ssl_, plain.data(), plain.size(), &n) != 1) return failed();
    plain = plain.subspan(n);
  }
  return Status::kOk;
}

void Transport::shutdown() {
  if (done_ && failure_.empty()) SSL_shutdown(ssl_);
}

Transport::Status Transport::failed() {
  if (fault_ == net::TlsFault::kNone) {
    bool nobody = ERR_GET_REASON(ERR_peek_error()) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE;
    fault_ = nobody ? net::TlsFault::kNoCertificate : net::TlsFault::kOther;
  }
  failure_ = "TLS_error:|" + (verify_failure_.empty() ? openssl_errors() : verify_failure_) + ":TLS_error_end";
  ERR_clear_error();
  return Status::kFailed;
}

void Transport::finish() {
  done_ = true;
  const unsigned char* alpn = nullptr;
  unsigned alpn_size = 0;
  SSL_get0_alpn_selected(ssl_, &alpn, &alpn_size);
  info_.alpn.assign(reinterpret_cast<const char*>(alpn), alpn_size);
  if (const char* sni = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name)) info_.sni = sni;
  info_.version = SSL_get_version(ssl_);
  info_.cipher = SSL_get_cipher_name(ssl_);
  info_.resumed = SSL_session_reused(ssl_) == 1;
  info_.local_uri_sans = context_->local_uri_sans();
  X509* peer = SSL_get0_peer_certificate(ssl_);
  if (!peer) return;
  info_.peer_certificate_presented = true;
  SanNames names = san_names(peer);
  info_.peer_uri_sans = std::move(names.uri);
  info_.peer_dns_sans = std::move(names.dns);
  if (!server_) return;
  info_.peer_subject = subject_of(peer);
  info_.peer_sha256 = sha256_of(peer);
  if (!wants_peer_pem_) return;
  info_.peer_certificate = info_.peer_chain = url_encoded_pem(peer);
  STACK_OF(X509)* rest = SSL_get_peer_cert_chain(ssl_);  // a server's has not the peer's own; a resumed session's none
  for (int i = 0; i < sk_X509_num(rest); i++) info_.peer_chain += url_encoded_pem(sk_X509_value(rest, i));
}

namespace {

class Unready final : public net::SecureTransport {
 public:
  explicit Unready(std::string why) : why_(std::move(why)) {}
  Status receive(net::Bytes, uint8_t*, size_t, size_t& produced, bool& more) override {
    produced = 0;
    more = false;
    return Status::kFailed;
  }
  void keep_input() override {}
  Status send(net::Bytes) override { return Status::kFailed; }
  Status handshake() override { return Status::kFailed; }
  bool handshake_done() const override { return false; }
  void shutdown() override {}
  net::Bytes output() const override { return {}; }
  void output_consumed(size_t) override {}
  void keep_output() override {}
  bool hold_output() override { return false; }
  size_t output_size() const override { return 0; }
  const net::TlsInfo& info() const override { return info_; }
  const std::string& failure_reason() const override { return why_; }
  net::TlsFault fault() const override { return net::TlsFault::kOther; }

 private:
  net::TlsInfo info_;
  std::string why_;
};

}  // namespace

std::unique_ptr<net::SecureTransport> make_client(base::EventLoop& loop, const ContextTable& table, ContextPtr context,
                                                  std::shared_ptr<const model::UpstreamTls> tls,
                                                  const ClientOptions& options) {
  auto transport = std::make_unique<Transport>(loop, std::move(context), false);
  transport->set_client(table, std::move(tls), options);
  return transport;
}

std::unique_ptr<net::SecureTransport> make_server(base::EventLoop& loop, ContextPtr context, bool wants_peer_pem) {
  auto transport = std::make_unique<Transport>(loop, std::move(context), true);
  transport->set_wants_peer_pem(wants_peer_pem);
  return transport;
}

std::unique_ptr<net::SecureTransport> make_unready(std::string why) {
  return std::make_unique<Unready>(std::move(why));
}

}  // namespace pinnace::tls
