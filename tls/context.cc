#include "tls/context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <atomic>

#include "tls/certificate.h"
#include "tls/transport.h"
#include "tls/verify.h"

namespace pinnace::tls {
namespace {

// Envoy's default cipher list, in OpenSSL's names. TLS 1.3 suites are OpenSSL's own.
constexpr const char* kDefaultCiphers =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";

// OpenSSL has built the chain against the trusted roots; then come names and pins.
int verify_peer(X509_STORE_CTX* store, void*) {
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  Transport& transport = Transport::of(ssl);
  X509* leaf = X509_STORE_CTX_get0_cert(store);
  bool accept_untrusted =
      static_cast<const Context*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)))->spec().accept_untrusted;
  if (X509_verify_cert(store) != 1 && !accept_untrusted) {
    int code = X509_STORE_CTX_get_error(store);
    std::string who = leaf ? subject_of(leaf) : "";
    SanNames names = leaf ? san_names(leaf) : SanNames{};
    if (!names.uri.empty()) who = names.uri[0];
    transport.note_verify_failure("CERTIFICATE_VERIFY_FAILED: " + std::string(X509_verify_cert_error_string(code)) +
                                      (who.empty() ? "" : " (" + who + ")"),
                                  net::TlsFault::kUntrusted);
    return 0;
  }
  std::string why = leaf ? transport.check_peer(leaf) : "no certificate";
  if (why.empty()) return 1;
  transport.note_verify_failure("CERTIFICATE_VERIFY_FAILED: verify SAN list: " + why, net::TlsFault::kWrongName);
  X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
  return 0;
}

int select_alpn(SSL* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                unsigned offered_size, void*) {
  const auto& ours = static_cast<const Context*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)))->spec().server_alpn;
  for (const auto& name : ours) {
    for (unsigned i = 0; i < offered_size; i += offered[i] + 1u) {
      if (offered[i] == name.size() && i + 1 + offered[i] <= offered_size &&
          std::memcmp(offered + i + 1, name.data(), name.size()) == 0) {
        *out = offered + i + 1;
        *out_size = offered[i];
        return SSL_TLSEXT_ERR_OK;
      }
    }
  }
  return SSL_TLSEXT_ERR_NOACK;  // ENVOY: no common protocol is no error
}

Result<bool> use_certificate(SSL_CTX* ctx, const model::CertificatePem& pem, bool first,
                             std::vector<CertificateFacts>& facts, std::vector<std::string>& local_sans) {
  auto chain = parse_certificates(pem.chain);
  if (!chain) return error("certificate_chain: " + chain.error().message);
  BIO* bio = BIO_new_mem_buf(pem.key.data(), static_cast<int>(pem.key.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, const_cast<char*>(pem.password.c_str()));
  BIO_free(bio);
  if (!key) return error("private_key: not a PEM private key: " + openssl_errors());
  STACK_OF(X509)* rest = sk_X509_new_null();
  for (size_t i = 1; i < chain->size(); i++) sk_X509_push(rest, (*chain)[i].get());
  bool ok = SSL_CTX_use_cert_and_key(ctx, (*chain)[0].get(), key, rest, 1) == 1;
  sk_X509_free(rest);
  EVP_PKEY_free(key);
  if (!ok) return error("the private key does not belong to the certificate: " + openssl_errors());
  facts.push_back(facts_of((*chain)[0].get()));
  if (first) local_sans = facts.back().uri_sans;
  return true;
}

// RFC 6066 8. ENVOY (LENIENT_STAPLING): a response that is no longer current is not sent.
int staple(SSL* ssl, void*) {
  const auto& context = *static_cast<const Context*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  const std::string* der = context.staple_of(SSL_get_certificate(ssl), time(nullptr));
  if (!der) return SSL_TLSEXT_ERR_NOACK;
  void* copy = OPENSSL_memdup(der->data(), der->size());
  if (!copy) return SSL_TLSEXT_ERR_NOACK;
  SSL_set_tlsext_status_ocsp_resp(ssl, copy, static_cast<long>(der->size()));
  return SSL_TLSEXT_ERR_OK;
}

// Names of BoringSSL, which istiod takes for granted, that this OpenSSL may lack: they are left out where others
// remain, and the peer chooses among those, as it would if it lacked them itself.
std::string known_curves(SSL_CTX* ctx, const std::string& list) {
  static constexpr std::string_view kRecent[] = {"X25519MLKEM768", "X25519Kyber768Draft00"};
  std::string out;
  for (size_t at = 0; at <= list.size();) {
    size_t end = std::min(list.find(':', at), list.size());
    std::string name = list.substr(at, end - at);
    bool recent = std::find(std::begin(kRecent), std::end(kRecent), name) != std::end(kRecent);
    if (!recent || SSL_CTX_set1_groups_list(ctx, name.c_str()) == 1) out += (out.empty() ? "" : ":") + name;
    at = end + 1;
  }
  ERR_clear_error();
  return out.empty() ? list : out;
}

Result<bool> set_parameters(SSL_CTX* ctx, const model::TlsContextSpec& spec) {
  // OpenSSL's level 1 has no signature that TLS 1.0 and 1.1 can use; who asks for those is given them.
  if (spec.min_version != 0 && spec.min_version < TLS1_2_VERSION) SSL_CTX_set_security_level(ctx, 0);
  // ENVOY: TLS 1.2 is the least for both sides unless tls_params says otherwise; clients stop at 1.2, pinnace at 1.3.
  SSL_CTX_set_min_proto_version(ctx, spec.min_version ? spec.min_version : TLS1_2_VERSION);
  SSL_CTX_set_max_proto_version(ctx, spec.max_version ? spec.max_version : TLS1_3_VERSION);
  if (SSL_CTX_set_cipher_list(ctx, spec.ciphers.empty() ? kDefaultCiphers : spec.ciphers.c_str()) != 1) {
    return error("tls_params.cipher_suites: no known cipher in '" + spec.ciphers + "'");
  }
  std::string curves = spec.curves.empty() ? "X25519:P-256" : known_curves(ctx, spec.curves);
  if (SSL_CTX_set1_groups_list(ctx, curves.c_str()) != 1) {
    return error("tls_params.ecdh_curves: '" + spec.curves + "' is not known");
  }
  if (!spec.signature_algorithms.empty() && SSL_CTX_set1_sigalgs_list(ctx, spec.signature_algorithms.c_str()) != 1) {
    return error("tls_params.signature_algorithms: '" + spec.signature_algorithms + "' is not known");
  }
  return true;
}

}  // namespace

Result<bool> check_parameters(const model::TlsContextSpec& spec) {
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> ctx(
      SSL_CTX_new(spec.server ? TLS_server_method() : TLS_client_method()), &SSL_CTX_free);
  if (!ctx) return error("cannot make a TLS context: " + openssl_errors());
  return set_parameters(ctx.get(), spec);
}

Result<std::shared_ptr<const Context>> Context::make(const model::TlsContextSpec& spec,
                                                     const ResolvedSecrets& secrets) {
  static std::atomic<uint64_t> generations{1};
  std::shared_ptr<Context> context(new Context);
  context->spec_ = spec;
  context->generation_ = generations.fetch_add(1);
  SSL_CTX* ctx = SSL_CTX_new(spec.server ? TLS_server_method() : TLS_client_method());
  context->native_ = ctx;
  if (!ctx) return error("cannot make a TLS context: " + openssl_errors());
  SSL_CTX_set_app_data(ctx, context.get());
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // A record's head and body come from the transport's memory in one go.
  SSL_CTX_set_read_ahead(ctx, 1);
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  auto parameters = set_parameters(ctx, spec);
  if (!parameters) return parameters.error();
  for (size_t i = 0; i < secrets.certificates.size(); i++) {
    auto used = use_certificate(ctx, secrets.certificates[i], i == 0, context->chain_facts_, context->local_uri_sans_);
    if (!used) return used.error();
    const std::string& der = secrets.certificates[i].ocsp_staple;
    if (der.empty() || !spec.server) continue;
    auto until = staple_valid_until(der);
    if (!until) return until.error();
    context->staples_.push_back({sha256_of(SSL_CTX_get0_certificate(ctx)), der, *until});
    SSL_CTX_set_tlsext_status_cb(ctx, staple);
  }

  bool verify = secrets.has_validation && !secrets.validation.trusted_ca.empty();
  if (verify) {
    auto roots = parse_certificates(secrets.validation.trusted_ca);
    if (!roots) return error("trusted_ca: " + roots.error().message);
    X509_STORE* store = SSL_CTX_get_cert_store(ctx);
    for (auto& root : *roots) {
      X509_STORE_add_cert(store, root.get());
      if (spec.server) SSL_CTX_add_client_CA(ctx, root.get());
      if (context->ca_facts_.size() < 64) context->ca_facts_.push_back(facts_of(root.get()));
    }
    if (!secrets.validation.crl.empty()) {
      BIO* bio = BIO_new_mem_buf(secrets.validation.crl.data(), static_cast<int>(secrets.validation.crl.size()));
      int count = 0;
      while (X509_CRL* crl = PEM_read_bio_X509_CRL(bio, nullptr, nullptr, nullptr)) {
        X509_STORE_add_crl(store, crl);
        X509_CRL_free(crl);
        count++;
      }
      BIO_free(bio);
      ERR_clear_error();
      if (count == 0) return error("crl: not a PEM revocation list");
      X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    }
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);  // ENVOY: any certificate in trusted_ca is an anchor
  }
  bool pinned = !spec.verify_certificate_hash.empty() || !spec.verify_certificate_spki.empty();
  if (verify || pinned) {
    int mode = SSL_VERIFY_PEER;
    if (spec.server && spec.require_client_certificate) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, mode, nullptr);
    SSL_CTX_set_cert_verify_callback(ctx, verify_peer, nullptr);
    // Extended key usage, where present, must allow this direction (CVE-2022-21657).
    SSL_CTX_set_purpose(ctx, spec.server ? X509_PURPOSE_SSL_CLIENT : X509_PURPOSE_SSL_SERVER);
  } else if (spec.server && spec.require_client_certificate) {
    return error("require_client_certificate without a trusted_ca would accept anyone");
  } else if (spec.validation_secret) {
    return error("the validation secret has no trusted_ca");
  }
  if (spec.server) {
    if (secrets.certificates.empty()) return error("no certificate");
    SSL_CTX_set_alpn_select_cb(ctx, select_alpn, nullptr);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    auto id = "pinnace" + std::to_string(context->generation_);
    SSL_CTX_set_session_id_context(ctx, reinterpret_cast<const unsigned char*>(id.data()),
                                   static_cast<unsigned>(id.size()));
    if (spec.session_timeout_s > 0) SSL_CTX_set_timeout(ctx, static_cast<long>(spec.session_timeout_s));
    SSL_CTX_set_num_tickets(ctx, spec.session_tickets ? 1 : 0);
    if (!spec.session_tickets) SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
  } else {
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, [](SSL* ssl, SSL_SESSION* session) {
      Transport::of(ssl).new_session(session);
      return 1;
    });
  }
  return std::shared_ptr<const Context>(std::move(context));
}

Context::~Context() { SSL_CTX_free(native_); }

const std::string* Context::staple_of(X509* certificate, int64_t now_s) const {
  std::string hash = certificate ? sha256_of(certificate) : "";
  for (const auto& one : staples_) {
    if (one.certificate == hash && now_s < one.valid_until) return &one.der;
  }
  return nullptr;
}

ContextTable::~ContextTable() {
  for (auto& [key, list] : sessions_) {
    for (SSL_SESSION* session : list) SSL_SESSION_free(session);
  }
}

void ContextTable::set(uint32_t id, ContextPtr context) {
  if (id >= contexts_.size()) contexts_.resize(id + 1);
  contexts_[id] = std::move(context);
}

SSL_SESSION* ContextTable::take_session(uint64_t key) const {
  auto found = sessions_.find(key);
  if (found == sessions_.end()) return nullptr;
  SSL_SESSION* session = found->second.back();
  found->second.pop_back();
  session_count_--;
  if (found->second.empty()) sessions_.erase(found);
  return session;
}

void ContextTable::keep_session(uint64_t key, SSL_SESSION* session, uint32_t max) const {
  if (session_count_ >= kMaxSessions) {  // start over rather than grow with the mesh
    for (auto& [old_key, list] : sessions_) {
      for (SSL_SESSION* old : list) SSL_SESSION_free(old);
    }
    sessions_.clear();
    session_count_ = 0;
  }
  auto& list = sessions_[key];
  list.push_back(session);
  session_count_++;
  while (list.size() > max) {
    SSL_SESSION_free(list.front());
    list.pop_front();
    session_count_--;
  }
}

}  // namespace pinnace::tls
