// Decides whether a peer's certificate is the one that was asked for. OpenSSL has built and checked the chain; here
// come the names, each compared with SANs of its own type only (CVE-2022-21656), and the pins. Any doubt refuses.
#pragma once

#include <openssl/x509.h>

#include <string>
#include <vector>

#include "proxy/model/tls.h"

namespace pinnace::tls {

// Empty when `certificate` has a SAN that one of `matchers` takes; else why not, with the names it has.
std::string check_sans(X509* certificate, const std::vector<model::SanMatcher>& matchers);
// verify_certificate_hash and _spki: empty when one matches or none is configured.
std::string check_pins(X509* certificate, const std::vector<std::string>& hashes,
                       const std::vector<std::string>& spkis);
// RFC 6125: an exact name, or "*." for one label.
bool dns_name_matches(std::string_view pattern, std::string_view name);

}  // namespace pinnace::tls
