// CertificateAuthority: the mesh's own root and the short-lived SPIFFE identities it signs. Keys are P-256; the root
// lives in a directory (key mode 0600), so that a restart keeps the trust of running proxies. THREAD: issue() any.
// ERRORS: an unreadable or mismatched root is an error, never silently replaced.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <chrono>
#include <memory>
#include <string>

#include "proxy/base/result.h"

namespace pinnace::translator {

using WallTime = std::chrono::system_clock::time_point;

struct Identity {
  std::string certificate_chain, private_key;  // PEM
  WallTime issued, expires;
};

class CertificateAuthority {
 public:
  // Reads `directory`/root-cert.pem and root-key.pem, or makes them when neither is there.
  static Result<std::unique_ptr<CertificateAuthority>> open(const std::string& directory,
                                                            const std::string& trust_domain);

  // A leaf for server and client use, its only name the critical URI SAN `uri`.
  Result<Identity> issue(const std::string& uri, std::chrono::seconds ttl) const;
  const std::string& root_pem() const { return root_pem_; }

 private:
  struct Free {
    void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
    void operator()(X509* p) const { X509_free(p); }
  };
  std::unique_ptr<EVP_PKEY, Free> key_;
  std::unique_ptr<X509, Free> certificate_;
  std::string root_pem_;
};

}  // namespace pinnace::translator
