#include "filters/listener/proxy_protocol.h"

#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

namespace pinnace::filters::listener {
namespace {

using base::Address;
using base::Bytes;

constexpr std::string_view kSignature1 = "PROXY ";
constexpr std::string_view kSignature2{"\r\n\r\n\0\r\nQUIT\n", 12};
constexpr size_t kMaxLine = 107;  // version 1, 2.1 of the specification, with CRLF

bool parse_port(std::string_view text, uint16_t& port) {
  if (text.empty() || text.size() > 5 || (text.size() > 1 && text[0] == '0')) return false;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), port);
  return failed == std::errc() && end == text.data() + text.size();
}

bool parse_address(std::string_view text, std::string_view port_text, Address::Kind kind, Address& out) {
  uint16_t port = 0;
  if (!parse_port(port_text, port)) return false;
  auto address = Address::ip(text, port);
  if (!address || address->kind() != kind) return false;
  out = address->unmapped();  // as version 2 and sockets have it
  return true;
}

// "TCP4 1.2.3.4 5.6.7.8 1000 80": exactly one space between the parts.
bool parse_line(std::string_view line, ProxyHeader& header) {
  std::string_view family = line.substr(0, line.find(' '));
  if (family == "UNKNOWN") return true;  // whatever follows is ignored
  if (family != "TCP4" && family != "TCP6") return false;
  std::string_view parts[4];
  line.remove_prefix(family.size());
  for (auto& part : parts) {
    if (line.empty()) return false;
    line.remove_prefix(1);
    part = line.substr(0, line.find(' '));
    line.remove_prefix(part.size());
  }
  Address::Kind kind = family == "TCP4" ? Address::Kind::kIpv4 : Address::Kind::kIpv6;
  header.has_addresses = line.empty() && parse_address(parts[0], parts[2], kind, header.source) &&
                         parse_address(parts[1], parts[3], kind, header.destination);
  return header.has_addresses;
}

ProxyHeaderState parse_version1(std::string_view text, ProxyHeader& header) {
  header.version = 1;
  size_t end = text.substr(0, kMaxLine).find("\r\n");
  if (end == std::string_view::npos) {
    return text.size() >= kMaxLine ? ProxyHeaderState::kInvalid : ProxyHeaderState::kNeedMore;
  }
  header.size = end + 2;
  bool good = parse_line(text.substr(kSignature1.size(), end - kSignature1.size()), header);
  return good ? ProxyHeaderState::kDone : ProxyHeaderState::kInvalid;
}

Address address_at(const uint8_t* at, int family, const uint8_t* port) {
  sockaddr_storage storage{};
  storage.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
    std::memcpy(&v4.sin_addr, at, 4);
    std::memcpy(&v4.sin_port, port, 2);
    return Address::from_sockaddr(storage, sizeof v4);
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
  std::memcpy(&v6.sin6_addr, at, 16);
  std::memcpy(&v6.sin6_port, port, 2);
  return Address::from_sockaddr(storage, sizeof v6);
}

// Type-length-value triples to the end, none cut short (CVE-2026-47692).
bool tlvs_ok(Bytes rest) {
  while (!rest.empty()) {
    if (rest.size() < 3) return false;
    size_t length = static_cast<size_t>(rest[1]) << 8 | rest[2];
    if (rest.size() < 3 + length) return false;
    rest = rest.subspan(3 + length);
  }
  return true;
}

ProxyHeaderState parse_version2(Bytes bytes, ProxyHeader& header) {
  constexpr size_t kFixed = 16;
  constexpr uint8_t kLocal = 0x20, kProxy = 0x21, kTcp4 = 0x11, kTcp6 = 0x21, kUnspecified = 0x00;
  header.version = 2;
  if (bytes.size() < kFixed) return ProxyHeaderState::kNeedMore;
  uint8_t command = bytes[12], family = bytes[13];
  size_t length = static_cast<size_t>(bytes[14]) << 8 | bytes[15];
  if ((command != kLocal && command != kProxy) || kFixed + length > kMaxProxyHeader) return ProxyHeaderState::kInvalid;
  header.size = kFixed + length;
  if (bytes.size() < header.size) return ProxyHeaderState::kNeedMore;
  // CVE-2024-23327: LOCAL has no addresses to speak of, whatever the family says; so has UNSPEC.
  if (command == kLocal || family == kUnspecified) return ProxyHeaderState::kDone;
  if (family != kTcp4 && family != kTcp6) return ProxyHeaderState::kInvalid;
  size_t one = family == kTcp4 ? 4 : 16;
  size_t addresses = 2 * one + 4;
  if (length < addresses || !tlvs_ok(bytes.subspan(kFixed + addresses, length - addresses))) {
    return ProxyHeaderState::kInvalid;
  }
  const uint8_t* at = bytes.data() + kFixed;
  int domain = family == kTcp4 ? AF_INET : AF_INET6;
  header.source = address_at(at, domain, at + 2 * one);
  header.destination = address_at(at + one, domain, at + 2 * one + 2);
  header.has_addresses = true;
  return ProxyHeaderState::kDone;
}

}  // namespace

ProxyHeaderState parse_proxy_header(Bytes bytes, ProxyHeader& header) {
  header = {};
  std::string_view text{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  auto begins = [&](std::string_view signature) {
    return text.substr(0, signature.size()) == signature.substr(0, text.size());
  };
  if (begins(kSignature2)) {
    return text.size() < kSignature2.size() ? ProxyHeaderState::kNeedMore : parse_version2(bytes, header);
  }
  if (begins(kSignature1)) {
    return text.size() < kSignature1.size() ? ProxyHeaderState::kNeedMore : parse_version1(text, header);
  }
  return ProxyHeaderState::kAbsent;
}

}  // namespace pinnace::filters::listener
