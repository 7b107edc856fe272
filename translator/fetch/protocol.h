// Protocol: what a port speaks. A Service port says it by appProtocol, else by the first word of its name, else by its
// number; ports of a ServiceEntry and of a Gateway name it outright. What nobody says is sniffed from the first bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace pinnace::translator {

enum class Protocol {
  kHttp,
  kHttp2,
  kGrpc,
  kGrpcWeb,
  kHttps,
  kTls,
  kTcp,
  kMongo,
  kMysql,
  kRedis,
  kUdp,   // passed by: no proxy carries it
  kAuto,  // sniffed
};

inline bool is_grpc(Protocol p) { return p == Protocol::kGrpc || p == Protocol::kGrpcWeb; }
inline bool is_http2(Protocol p) { return p == Protocol::kHttp2 || is_grpc(p); }
inline bool is_http(Protocol p) { return p == Protocol::kHttp || is_http2(p); }
inline bool is_http_or_sniffed(Protocol p) { return is_http(p) || p == Protocol::kAuto; }
// TLS that the proxy does not end: connections are told apart by SNI.
inline bool is_tls(Protocol p) { return p == Protocol::kHttps || p == Protocol::kTls; }
// Protocols whose server speaks first, by their name: nothing that waits for the client may look at such a port.
inline bool is_server_first(Protocol p) { return p == Protocol::kMongo || p == Protocol::kMysql; }

// "http", "GRPC-Web", ...: the case does not matter. nullopt: no protocol of that name.
std::optional<Protocol> parse_protocol(std::string_view name);
// The name in Istio's spelling.
std::string_view name_of(Protocol protocol);

// A port of a Service; `transport` is ports[].protocol. nullopt: http_proxy, which no service port can be.
std::optional<Protocol> service_port_protocol(std::string_view port_name, std::string_view app_protocol,
                                              std::string_view transport, uint32_t number);

}  // namespace pinnace::translator
