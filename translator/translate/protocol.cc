#include "translator/translate/protocol.h"

#include <algorithm>
#include <optional>
#include <string>

namespace pinnace::translator {
namespace {

std::optional<Protocol> by_word(std::string word) {
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
  if (word == "http" || word == "kubernetes.io/ws") return Protocol::kHttp;
  if (word == "http2" || word == "kubernetes.io/h2c") return Protocol::kHttp2;
  if (word == "grpc" || word == "grpc-web") return Protocol::kGrpc;
  if (word == "tls" || word == "https" || word == "kubernetes.io/wss") return Protocol::kTls;
  if (word == "tcp" || word == "mongo" || word == "redis" || word == "mysql") return Protocol::kTcp;
  return std::nullopt;
}

}  // namespace

Protocol protocol_of(std::string_view port_name, std::string_view app_protocol, uint32_t port) {
  if (!app_protocol.empty())
    if (auto found = by_word(std::string(app_protocol))) return *found;
  if (port_name.starts_with("grpc-web")) return Protocol::kGrpc;
  if (auto found = by_word(std::string(port_name.substr(0, port_name.find('-'))))) return *found;
  // Server-first protocols would hang while the proxy waits for the client's first bytes.
  if (port == 25 || port == 53 || port == 3306 || port == 27017) return Protocol::kTcp;
  return Protocol::kAuto;
}

Protocol protocol_of_service_entry(std::string_view protocol) {
  return by_word(std::string(protocol)).value_or(Protocol::kAuto);
}

}  // namespace pinnace::translator
