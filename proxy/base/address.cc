#include "proxy/base/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

namespace pinnace::base {

Result<Address> Address::ip(std::string_view text, uint16_t port) {
  Address address;
  address.port_ = port;
  char buffer[INET6_ADDRSTRLEN + 1];
  if (text.empty() || text.size() >= sizeof buffer || text.find('\0') != std::string_view::npos)
    return error("'" + std::string(text) + "' is not an IP address");
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = 0;
  if (inet_pton(AF_INET, buffer, address.bytes_.data()) == 1) {
    address.kind_ = Kind::kIpv4;
    return address;
  }
  if (inet_pton(AF_INET6, buffer, address.bytes_.data()) == 1) {
    address.kind_ = Kind::kIpv6;
    return address;
  }
  return error("'" + std::string(text) + "' is not an IP address");
}

Address Address::pipe(std::string path) {
  Address address;
  address.kind_ = Kind::kPipe;
  address.text_ = std::make_shared<const std::string>(std::move(path));
  return address;
}

Address Address::internal(std::string listener_name) {
  Address address;
  address.kind_ = Kind::kInternal;
  address.text_ = std::make_shared<const std::string>(std::move(listener_name));
  return address;
}

Address Address::from_sockaddr(const sockaddr_storage& storage, socklen_t length) {
  Address address;
  if (storage.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(storage);
    address.kind_ = Kind::kIpv4;
    std::memcpy(address.bytes_.data(), &in.sin_addr, 4);
    address.port_ = ntohs(in.sin_port);
  } else if (storage.ss_family == AF_INET6) {
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(storage);
    address.kind_ = Kind::kIpv6;
    std::memcpy(address.bytes_.data(), &in6.sin6_addr, 16);
    address.port_ = ntohs(in6.sin6_port);
    return address.unmapped();
  } else if (storage.ss_family == AF_UNIX) {
    const auto& un = reinterpret_cast<const sockaddr_un&>(storage);
    size_t room = length > offsetof(sockaddr_un, sun_path) ? length - offsetof(sockaddr_un, sun_path) : 0;
    return pipe(std::string(un.sun_path, strnlen(un.sun_path, room)));
  }
  return address;
}

int Address::family() const {
  switch (kind_) {
    case Kind::kIpv4: return AF_INET;
    case Kind::kIpv6: return AF_INET6;
    case Kind::kPipe: return AF_UNIX;
    default: return AF_UNSPEC;
  }
}

bool Address::is_any() const {
  return is_ip() && std::all_of(bytes_.begin(), bytes_.end(), [](uint8_t b) { return b == 0; });
}

bool Address::is_loopback() const {
  static const Address kV4 = ip("127.0.0.1", 0).value(), kV6 = ip("::1", 0).value();
  return (kind_ == Kind::kIpv4 && bytes_ == kV4.bytes_) || (kind_ == Kind::kIpv6 && bytes_ == kV6.bytes_);
}

Address Address::unmapped() const {
  static constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (kind_ != Kind::kIpv6 || std::memcmp(bytes_.data(), kMapped, 12) != 0) return *this;
  Address v4;
  v4.kind_ = Kind::kIpv4;
  v4.port_ = port_;
  std::memcpy(v4.bytes_.data(), bytes_.data() + 12, 4);
  return v4;
}

void Address::mask(int length) {
  for (int i = 0; i < 16; i++) {
    int keep = std::clamp(length - i * 8, 0, 8);
    bytes_[static_cast<size_t>(i)] &= static_cast<uint8_t>(0xff00 >> keep);
  }
}

Address Address::with_port(uint16_t port) const {
  Address copy = *this;
  copy.port_ = port;
  return copy;
}

socklen_t Address::to_sockaddr(sockaddr_storage& out) const {
  std::memset(&out, 0, sizeof out);
  if (kind_ == Kind::kIpv4) {
    auto& in = reinterpret_cast<sockaddr_in&>(out);
    in.sin_family = AF_INET;
    in.sin_port = htons(port_);
    std::memcpy(&in.sin_addr, bytes_.data(), 4);
    return sizeof in;
  }
  if (kind_ == Kind::kIpv6) {
    auto& in6 = reinterpret_cast<sockaddr_in6&>(out);
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port_);
    std::memcpy(&in6.sin6_addr, bytes_.data(), 16);
    return sizeof in6;
  }
  if (kind_ == Kind::kPipe) {
    auto& un = reinterpret_cast<sockaddr_un&>(out);
    un.sun_family = AF_UNIX;
    size_t n = std::min(text_->size(), sizeof un.sun_path - 1);
    std::memcpy(un.sun_path, text_->data(), n);
    if (n > 0 && un.sun_path[0] == '@') {  // abstract namespace, written as in Envoy
      un.sun_path[0] = 0;
      return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + n);
    }
    return sizeof un;
  }
  return 0;
}

std::string Address::ip_text() const {
  char buffer[INET6_ADDRSTRLEN];
  if (!is_ip()) return {};
  return inet_ntop(family(), bytes_.data(), buffer, sizeof buffer);
}

std::string Address::text() const {
  switch (kind_) {
    case Kind::kIpv4: return ip_text() + ":" + std::to_string(port_);
    case Kind::kIpv6: return "[" + ip_text() + "]:" + std::to_string(port_);
    case Kind::kPipe: return *text_;
    case Kind::kInternal: return "envoy://" + *text_;
    case Kind::kNone: break;
  }
  return {};
}

size_t Address::hash() const {
  uint64_t a, b;
  std::memcpy(&a, bytes_.data(), 8);
  std::memcpy(&b, bytes_.data() + 8, 8);
  uint64_t h = (a ^ (b * 0x9E3779B97F4A7C15ull)) + (uint64_t{port_} << 8) + static_cast<uint64_t>(kind_);
  if (text_) h ^= std::hash<std::string>{}(*text_);
  h *= 0xff51afd7ed558ccdull;
  return h ^ (h >> 32);
}

bool operator==(const Address& a, const Address& b) {
  if (a.kind_ != b.kind_ || a.port_ != b.port_ || a.bytes_ != b.bytes_) return false;
  return !a.text_ || *a.text_ == *b.text_;
}

Result<Cidr> Cidr::parse(std::string_view address, int length) {
  auto base = Address::ip(address, 0);
  if (!base) return base.error();
  if (length < 0 || length > base->bits()) return error("prefix_len " + std::to_string(length) + " is out of range");
  // Two spellings of one network compare equal: what lies beyond the prefix is 0.
  Address network = *base;
  network.mask(length);
  return Cidr{network, length};
}

bool Cidr::contains(const Address& ip) const {
  if (ip.kind() != base.kind()) return false;
  int whole = length / 8, rest = length % 8;
  if (std::memcmp(ip.bytes().data(), base.bytes().data(), whole) != 0) return false;
  if (rest == 0) return true;
  auto mask = static_cast<uint8_t>(0xff << (8 - rest));
  return ((ip.bytes()[whole] ^ base.bytes()[whole]) & mask) == 0;
}

}  // namespace pinnace::base
