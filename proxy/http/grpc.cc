#include "proxy/http/grpc.h"

namespace pinnace::http {

// ENVOY: two parts, empty ones left out.
std::optional<GrpcMethod> grpc_method(std::string_view path) {
  path = path.substr(0, path.find('?'));
  GrpcMethod out;
  size_t parts = 0;
  while (!path.empty()) {
    std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), part.size() + 1));
    if (part.empty()) continue;
    if (++parts == 1) out.service = part;
    else if (parts == 2) out.method = part;
    else return {};
  }
  if (parts != 2) return {};
  return out;
}

std::string_view grpc_message(std::string_view text, base::Arena& arena) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  char* out = arena.take_chars(text.size() * 3);
  size_t n = 0;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '%') {
      out[n++] = c;
    } else {
      out[n++] = '%';
      out[n++] = kHex[byte >> 4];
      out[n++] = kHex[byte & 15];
    }
  }
  return {out, n};
}

}  // namespace pinnace::http
