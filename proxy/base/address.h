// Address: where a socket is bound or connected. IPv4, IPv6 (with port), pipe (unix socket) and internal.
// A value type; comparing two addresses compares kind, bytes and port. envoy.config.core.v3.Address.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/result.h"

namespace pinnace::base {

class Address {
 public:
  enum class Kind : uint8_t { kNone, kIpv4, kIpv6, kPipe, kInternal };

  Address() = default;
  // ERRORS: `text` is neither an IPv4 nor an IPv6 literal.
  static Result<Address> ip(std::string_view text, uint16_t port);
  static Address pipe(std::string path);
  static Address internal(std::string listener_name);
  static Address from_sockaddr(const sockaddr_storage& storage, socklen_t length);

  Kind kind() const { return kind_; }
  bool is_ip() const { return kind_ == Kind::kIpv4 || kind_ == Kind::kIpv6; }
  bool is_any() const;       // 0.0.0.0 or ::
  bool is_loopback() const;  // 127.0.0.1 or ::1
  uint16_t port() const { return port_; }
  void set_port(uint16_t port) { port_ = port; }
  const std::string& path() const { return *text_; }
  int family() const;

  // The 16 address bytes; an IPv4 address fills the first four.
  const std::array<uint8_t, 16>& bytes() const { return bytes_; }
  int bits() const { return kind_ == Kind::kIpv4 ? 32 : 128; }
  // An IPv4-mapped IPv6 address (::ffff:a.b.c.d) as the IPv4 address it stands for; others unchanged.
  Address unmapped() const;
  Address with_port(uint16_t port) const;
  // Clears the bits beyond the first `length`.
  void mask(int length);

  socklen_t to_sockaddr(sockaddr_storage& out) const;
  std::string ip_text() const;  // without port; empty for pipes
  std::string text() const;     // "1.2.3.4:80", "[::1]:80", "/path", "envoy://name"
  size_t hash() const;

  friend bool operator==(const Address& a, const Address& b);

 private:
  std::array<uint8_t, 16> bytes_{};
  std::shared_ptr<const std::string> text_;  // kPipe and kInternal only
  uint16_t port_ = 0;
  Kind kind_ = Kind::kNone;
};

// A CIDR range, envoy.config.core.v3.CidrRange.
struct Cidr {
  Address base;
  int length = 0;

  static Result<Cidr> parse(std::string_view address, int length);
  bool contains(const Address& ip) const;
};

struct AddressHash {
  size_t operator()(const Address& a) const { return a.hash(); }
};

}  // namespace pinnace::base
