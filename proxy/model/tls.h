// TLS settings of a filter chain or cluster, compiled from DownstreamTlsContext and UpstreamTlsContext.
// The OpenSSL context itself is made in tls/ when its secrets are there and is found by `context_id`, so that a rotated
// certificate changes neither chains nor clusters.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "proxy/model/config_source.h"
#include "proxy/model/string_matcher.h"

namespace pinnace::model {

// Which kind of subject alternative name a matcher looks at (match_typed_subject_alt_names); kAny is the deprecated
// untyped match_subject_alt_names.
enum class SanType : uint8_t { kAny, kDns, kUri, kEmail, kIp };

struct SanMatcher {
  SanType type = SanType::kAny;
  StringMatcher matcher;
  friend bool operator==(const SanMatcher&, const SanMatcher&) = default;
};

// An SDS secret.
struct SecretRef {
  ResourceRef resource;
  uint64_t fetch_timeout_ms = 15000;  // initial_fetch_timeout; 0: wait for ever
  friend bool operator==(const SecretRef&, const SecretRef&) = default;
};

struct CertificatePem {
  std::string chain, key, password;
  std::string ocsp_staple;  // DER; empty: none
  friend bool operator==(const CertificatePem&, const CertificatePem&) = default;
};

struct ValidationPem {
  std::string trusted_ca, crl;
  friend bool operator==(const ValidationPem&, const ValidationPem&) = default;
};

// What one OpenSSL context is made of; contexts with equal content are shared.
struct TlsContextSpec {
  bool server = false;
  int min_version = 0, max_version = 0;  // OpenSSL's numbers; 0: default
  std::string ciphers, curves, signature_algorithms;
  std::vector<CertificatePem> certificates;
  std::vector<SecretRef> certificate_secrets;
  std::optional<ValidationPem> validation;
  std::optional<SecretRef> validation_secret;
  bool require_client_certificate = false;
  bool accept_untrusted = false;  // trust_chain_verification ACCEPT_UNTRUSTED
  bool session_tickets = true;
  uint64_t session_timeout_s = 0;  // 0: OpenSSL's
  std::vector<std::string> server_alpn;
  std::vector<std::string> verify_certificate_hash;  // lower-case hex SHA-256
  std::vector<std::string> verify_certificate_spki;  // base64 SHA-256
  // A server verifies in its handshake, so its matchers are part of the context; a client's are per cluster.
  std::vector<SanMatcher> server_sans;
  friend bool operator==(const TlsContextSpec&, const TlsContextSpec&) = default;
};

struct DownstreamTls {
  uint32_t context_id = 0;
  bool wants_peer_pem = false;
};

struct UpstreamTls {
  uint32_t context_id = 0;
  std::string sni;
  bool auto_sni = false;  // HttpProtocolOptions.upstream_http_protocol_options.auto_sni
  bool auto_san_validation = false;
  std::vector<std::string> alpn;
  std::vector<SanMatcher> sans;
  uint32_t max_session_keys = 1;
  // Sessions are resumed only under the same configuration (CVE-2022-21654).
  uint64_t session_key = 0;
};

}  // namespace pinnace::model
