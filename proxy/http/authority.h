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

}  // namespace pinnace::http
