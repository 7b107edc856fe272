#include "tls/verify.h"

#include <algorithm>

#include "proxy/http/header_map.h"
#include "tls/certificate.h"

namespace pinnace::tls {
namespace {

using model::SanType;

std::string listed(const SanNames& names) {
  std::string out;
  for (auto* list : {&names.uri, &names.dns, &names.email, &names.ip}) {
    for (const auto& name : *list) out += (out.empty() ? "" : ", ") + name;
  }
  return out.empty() ? "no subject alternative name" : out;
}

}  // namespace

bool dns_name_matches(std::string_view pattern, std::string_view name) {
  if (http::equals_ignore_case(pattern, name)) return true;
  if (pattern.size() < 3 || pattern.substr(0, 2) != "*.") return false;
  size_t dot = name.find('.');
  return dot != std::string_view::npos && dot > 0 && http::equals_ignore_case(pattern.substr(1), name.substr(dot));
}

std::string check_sans(X509* certificate, const std::vector<model::SanMatcher>& matchers) {
  if (matchers.empty()) return {};
  SanNames names = san_names(certificate);
  std::string wanted;
  for (const auto& matcher : matchers) {
    auto takes = [&](const std::string& name) { return matcher.matcher.matches(name); };
    auto takes_dns = [&](const std::string& name) {
      // ENVOY: an exact DNS matcher also takes a certificate with a wildcard name.
      if (matcher.matcher.kind() == model::StringMatcher::Kind::kExact)
        return dns_name_matches(name, matcher.matcher.text());
      return matcher.matcher.matches(name);
    };
    bool any = matcher.type == SanType::kAny;
    if ((any || matcher.type == SanType::kUri) && std::any_of(names.uri.begin(), names.uri.end(), takes)) return {};
    if ((any || matcher.type == SanType::kDns) && std::any_of(names.dns.begin(), names.dns.end(), takes_dns)) return {};
    if ((any || matcher.type == SanType::kEmail) && std::any_of(names.email.begin(), names.email.end(), takes))
      return {};
    if ((any || matcher.type == SanType::kIp) && std::any_of(names.ip.begin(), names.ip.end(), takes)) return {};
    wanted += (wanted.empty() ? "" : " or ") + matcher.matcher.describe();
  }
  return "the peer has [" + listed(names) + "], wanted [" + wanted + "]";
}

std::string check_pins(X509* certificate, const std::vector<std::string>& hashes,
                       const std::vector<std::string>& spkis) {
  if (hashes.empty() && spkis.empty()) return {};
  auto has = [](const std::vector<std::string>& list, const std::string& value) {
    return std::find(list.begin(), list.end(), value) != list.end();
  };
  if (!hashes.empty() && has(hashes, sha256_of(certificate))) return {};
  if (!spkis.empty() && has(spkis, spki_sha256_base64(certificate))) return {};
  return "the peer's certificate has none of the pinned hashes";
}

}  // namespace pinnace::tls
