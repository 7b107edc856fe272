#include "proxy/base/json_text.h"

#include "proxy/base/utf8.h"

namespace pinnace::base {
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

}  // namespace pinnace::base
