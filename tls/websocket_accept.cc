#include "tls/websocket_accept.h"

#include <openssl/evp.h>

#include <string>

namespace pinnace::tls {

std::string_view websocket_accept(std::string_view key, base::Arena& arena) {
  std::string text(key);
  text += "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha1(), nullptr) != 1) return {};
  char* out = arena.take_chars(4 * ((size + 2) / 3) + 1);  // with the NUL that OpenSSL adds
  int written = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out), digest, static_cast<int>(size));
  return {out, static_cast<size_t>(written)};
}

}  // namespace pinnace::tls
