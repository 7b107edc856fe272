#include "translator/fetch/protocol.h"

#include <gtest/gtest.h>

namespace pinnace::translator {
namespace {

std::string of_port(std::string_view name, std::string_view app = "", uint32_t number = 1000,
                    std::string_view transport = "TCP") {
  auto protocol = service_port_protocol(name, app, transport, number);
  return protocol ? std::string(name_of(*protocol)) : "none";
}

TEST(Protocol, first_word_of_the_port_name_decides) {
  for (auto& [name, protocol] : std::vector<std::pair<const char*, const char*>>{
           {"http", "HTTP"},           {"http-admin", "HTTP"},   {"HTTP-x", "HTTP"},
           {"http2-x", "HTTP2"},       {"grpc", "GRPC"},         {"grpc-web", "GRPC-Web"},
           {"grpc-web-x", "GRPC-Web"}, {"gRPC-Web", "GRPC-Web"}, {"grpc-webx", "GRPC-Web"},
           {"https-x", "HTTPS"},       {"tls", "TLS"},           {"tcp-x", "TCP"},
           {"mongo", "Mongo"},         {"mysql-x", "MySQL"},     {"redis", "Redis"},
           {"udp-x", "UDP"},           {"", "unnamed"},          {"web", "unnamed"},
           {"grpcweb-x", "unnamed"},   {"httpx", "unnamed"},     {"x-http", "unnamed"}})
    EXPECT_EQ(of_port(name), protocol) << name;
}

TEST(Protocol, app_protocol_wins_even_when_it_means_nothing) {
  EXPECT_EQ(of_port("http", "tcp"), "TCP");
  EXPECT_EQ(of_port("tcp", "HTTP-x"), "HTTP");
  EXPECT_EQ(of_port("tcp", "grpc-web"), "GRPC-Web");
  EXPECT_EQ(of_port("http", "kafka"), "unnamed");
  EXPECT_EQ(of_port("http", "example.com/http"), "unnamed");
}

TEST(Protocol, names_that_kubernetes_gives) {
  EXPECT_EQ(of_port("tcp", "kubernetes.io/h2c"), "HTTP2");
  EXPECT_EQ(of_port("tcp", "kubernetes.io/ws"), "HTTP");
  EXPECT_EQ(of_port("tcp", "kubernetes.io/wss"), "HTTPS");
  EXPECT_EQ(of_port("kubernetes.io/h2c"), "unnamed") << "only as appProtocol";
}

TEST(Protocol, ports_of_server_first_protocols_are_never_sniffed) {
  for (uint32_t number : {25u, 53u, 3306u, 27017u}) {
    EXPECT_EQ(of_port("db", "", number), "TCP");
    EXPECT_EQ(of_port("db", "kafka", number), "TCP");
    EXPECT_EQ(of_port("http", "", number), "HTTP");
  }
}

TEST(Protocol, transport_udp_decides_alone) { EXPECT_EQ(of_port("http", "http", 53, "UDP"), "UDP"); }

TEST(Protocol, no_service_port_is_an_http_proxy) {
  EXPECT_EQ(of_port("x", "http_proxy"), "none");
  EXPECT_EQ(parse_protocol("http_proxy"), std::nullopt);
}

}  // namespace
}  // namespace pinnace::translator
