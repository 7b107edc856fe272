// What a Host or :authority may hold. Pure.
#pragma once

#include <array>
#include <string_view>

namespace pinnace::http {

// RFC 3986 3.2 characters, a comma and percent signs included; what a host never holds is refused.
inline bool authority_ok(std::string_view authority) {
  static constexpr auto kAllowed = [] {
    std::array<bool, 256> table{};
    for (int c = '0'; c <= '9'; c++) table[c] = true;
    for (int c = 'a'; c <= 'z'; c++) table[c] = table[c - 32] = true;
    for (char c : std::string_view("-._~!$&'()*+,;=:@[]%")) table[static_cast<unsigned char>(c)] = true;
    return table;
  }();
  for (unsigned char c : authority) {
    if (!kAllowed[c]) return false;
  }
  return true;
}

// "host:80" → "host", "[::1]:80" → "[::1]"; what has no port stays.
inline std::string_view without_port(std::string_view authority) {
  size_t colon = authority.rfind(':');
  if (colon == std::string_view::npos || authority.find(']', colon) != std::string_view::npos) return authority;
  if (authority.find_first_not_of("0123456789", colon + 1) != std::string_view::npos) return authority;
  return authority.substr(0, colon);
}

// "[::1]" → "::1".
inline std::string_view without_brackets(std::string_view host) {
  return host.size() > 2 && host.front() == '[' && host.back() == ']' ? host.substr(1, host.size() - 2) : host;
}

}  // namespace pinnace::http
