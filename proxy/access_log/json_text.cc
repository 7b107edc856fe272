#include "proxy/access_log/json_text.h"

namespace pinnace::access_log {
namespace {

// The length of the UTF-8 sequence at the beginning of `text` (RFC 3629); 0: there is none.
size_t utf8_length(std::string_view text) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto more = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return more(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    bool overlong = first == 0xe0 && second < 0xa0, surrogate = first == 0xed && second > 0x9f;
    return more(1) && more(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    bool overlong = first == 0xf0 && second < 0x90, beyond = first == 0xf4 && second > 0x8f;
    return more(1) && more(2) && more(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace

void put_json_escaped(std::string& out, std::string_view value) {
  bool latin = !is_utf8(value);
  for (char c : value) {
    auto byte = static_cast<unsigned char>(c);
    bool special = byte < 0x20 || c == '"' || c == '\\';
    if (!special && (byte < 0x80 || !latin)) {
      out += c;
      continue;
    }
    static constexpr std::string_view kShort = "\"\"\\\\\bb\ff\nn\rr\tt";
    size_t at = kShort.size();
    for (size_t i = 0; i < kShort.size(); i += 2) at = kShort[i] == c ? i : at;
    out += '\\';
    if (!latin && at < kShort.size()) {
      out += kShort[at + 1];
    } else {
      static constexpr char kHex[] = "0123456789abcdef";
      out += "u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
}

}  // namespace pinnace::access_log
