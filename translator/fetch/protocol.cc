#include "translator/fetch/protocol.h"

#include <strings.h>

#include <algorithm>
#include <utility>

namespace pinnace::translator {
namespace {

constexpr std::pair<std::string_view, Protocol> kNames[] = {
    {"HTTP", Protocol::kHttp},        {"HTTP2", Protocol::kHttp2}, {"GRPC", Protocol::kGrpc},
    {"GRPC-Web", Protocol::kGrpcWeb}, {"HTTPS", Protocol::kHttps}, {"TLS", Protocol::kTls},
    {"TCP", Protocol::kTcp},          {"Mongo", Protocol::kMongo}, {"MySQL", Protocol::kMysql},
    {"Redis", Protocol::kRedis},      {"UDP", Protocol::kUdp},
};

// The names Kubernetes itself gives; these are exact.
constexpr std::pair<std::string_view, Protocol> kStandardNames[] = {
    {"kubernetes.io/h2c", Protocol::kHttp2},
    {"kubernetes.io/ws", Protocol::kHttp},
    {"kubernetes.io/wss", Protocol::kHttps},
};

// SMTP, DNS, MySQL, MongoDB: their servers speak first, or are not understood by the inspectors.
constexpr uint32_t kNeverSniffed[] = {25, 53, 3306, 27017};

bool begins_with(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && strncasecmp(text.data(), prefix.data(), prefix.size()) == 0;
}

bool same(std::string_view a, std::string_view b) { return a.size() == b.size() && begins_with(a, b); }

}  // namespace

std::optional<Protocol> parse_protocol(std::string_view name) {
  for (auto& [known, protocol] : kNames)
    if (same(known, name)) return protocol;
  return std::nullopt;
}

std::string_view name_of(Protocol protocol) {
  for (auto& [name, known] : kNames)
    if (known == protocol) return name;
  return "unnamed";
}

std::optional<Protocol> service_port_protocol(std::string_view port_name, std::string_view app_protocol,
                                              std::string_view transport, uint32_t number) {
  if (transport == "UDP") return Protocol::kUdp;
  for (auto& [name, protocol] : kStandardNames)
    if (name == app_protocol) return protocol;
  // ENVOY: an appProtocol that means nothing hides the port's name all the same, as istiod has it.
  auto word = app_protocol.empty() ? port_name : app_protocol;
  if (begins_with(word, "grpc-web")) return Protocol::kGrpcWeb;  // the one name with a dash in it
  word = word.substr(0, word.find('-'));
  if (same(word, "http_proxy")) return std::nullopt;
  if (auto known = parse_protocol(word)) return known;
  bool never = std::find(std::begin(kNeverSniffed), std::end(kNeverSniffed), number) != std::end(kNeverSniffed);
  return never ? Protocol::kTcp : Protocol::kAuto;
}

}  // namespace pinnace::translator
