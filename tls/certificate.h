// Reads facts out of X.509 certificates: names, validity, digests. Names are taken whole, by their length: one that
// holds a NUL is not a name (CVE-2026-47778).
#pragma once

#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

#include "tls/context.h"

namespace pinnace::tls {

struct X509Free {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
using X509Ptr = std::unique_ptr<X509, X509Free>;

struct SanNames {
  std::vector<std::string> uri, dns, email, ip;
};

SanNames san_names(X509* certificate);
// Every certificate in `pem`, in order. ERRORS: no certificate, or one that does not parse.
Result<std::vector<X509Ptr>> parse_certificates(const std::string& pem);
CertificateFacts facts_of(X509* certificate);
std::string subject_of(X509* certificate);  // RFC 2253
std::string sha256_of(X509* certificate);   // lower-case hex
std::string url_encoded_pem(X509* certificate);
std::string spki_sha256_base64(X509* certificate);
// When an OCSP response (RFC 6960, DER) stops being current, in seconds since the epoch; without a nextUpdate never.
// ERRORS: it is none, or says that something failed.
Result<int64_t> staple_valid_until(const std::string& der);
// The text of OpenSSL's error queue, which it empties.
std::string openssl_errors();

}  // namespace pinnace::tls
