// Protocols of ServiceEntries and Gateways, and who may share an address with whom.
#include "translator/translate/protocol_shapes_test_support.h"

namespace pinnace::translator {
namespace {

using namespace shapes;
using ProtocolSharing = ProtocolShapes;

std::string entry(const std::string& name, const std::string& host, const std::string& port,
                  const std::string& address = "") {
  return "---\n{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: " + name +
         ", namespace: ns}, spec: {hosts: [" + host + "], ports: [" + port + "], resolution: NONE" +
         (address.empty() ? "" : ", addresses: [" + address + "]") + "}}\n";
}

TEST_F(ProtocolSharing, service_entry_names_its_protocol) {
  load("{name: http, port: 1}", entry("e", "e.com", "{number: 1000, name: p, protocol: mongo}", "10.9.0.1").substr(4));
  EXPECT_EQ(chains("10.9.0.1_1000"), Lines{"-> tcp outbound|1000||e.com"});
  load("{name: http, port: 1}", entry("e", "e.com", "{number: 1000, name: p, protocol: GRPC-Web}").substr(4));
  EXPECT_EQ(upstream("outbound|1000||e.com"), "h2");
  load("{name: http, port: 1}", entry("e", "e.com", "{number: 1000, name: http}", "10.9.0.1").substr(4));
  EXPECT_EQ(chains("10.9.0.1_1000").front(), std::string(kRaw) + " -> http e.com:1000");
  load("{name: http, port: 1}", entry("e", "e.com", "{number: 1000, name: p, protocol: UDP}", "10.9.0.1").substr(4));
  EXPECT_EQ(outbound_listeners(), Lines{"0.0.0.0_1"});
}

TEST_F(ProtocolSharing, http_and_tcp_on_one_address_are_told_apart_by_looking) {
  auto tcp = "{number: 1000, name: p, protocol: TCP}", http = "{number: 1000, name: p, protocol: HTTP}";
  auto tls = "{number: 1000, name: p, protocol: TLS}";
  load("{name: http, port: 1}", entry("a", "a.com", tcp).substr(4) + entry("b", "b.com", http));
  EXPECT_EQ(chains("0.0.0.0_1000"), (Lines{std::string(kRaw) + " -> http 1000", "else -> tcp outbound|1000||a.com"}));
  // In the order of the services.
  load("{name: http, port: 1}", entry("a", "a.com", tls).substr(4) + entry("b", "b.com", http));
  EXPECT_EQ(chains("0.0.0.0_1000"), (Lines{"/a.com -> tcp outbound|1000||a.com", std::string(kRaw) + " -> http 1000",
                                           "else -> tcp PassthroughCluster"}));
  load("{name: http, port: 1}", entry("a", "a.com", http).substr(4) + entry("b", "b.com", tls));
  EXPECT_EQ(chains("0.0.0.0_1000").front(), std::string(kRaw) + " -> http 1000");
  EXPECT_EQ(inspectors("0.0.0.0_1000"), "tls_inspector http_inspector");
}

TEST_F(ProtocolSharing, server_first_protocols_share_an_address_with_none_but_themselves) {
  for (std::string first : {"MONGO", "MYSQL"}) {
    auto db = "{number: 1000, name: p, protocol: " + first + "}";
    for (auto other : {"HTTP", "TCP", "TLS", "REDIS"}) {
      auto port = fmt::format("{{number: 1000, name: p, protocol: {}}}", other);
      load("{name: http, port: 1}", entry("a", "a.com", db).substr(4) + entry("b", "b.com", port));
      EXPECT_EQ(chains("0.0.0.0_1000"), Lines{"-> tcp outbound|1000||a.com"}) << first << " " << other;
      EXPECT_EQ(inspectors("0.0.0.0_1000"), "") << first << " " << other;
    }
    load("{name: http, port: 1}",
         entry("a", "a.com", "{number: 1000, name: p, protocol: HTTP}").substr(4) + entry("b", "b.com", db));
    EXPECT_EQ(chains("0.0.0.0_1000").back(), "else -> tcp PassthroughCluster") << first;
  }
  load("{name: http, port: 1}",
       entry("a", "a.com", "{number: 1000, name: p, protocol: MONGO}", "10.8.0.0/16").substr(4) +
           entry("b", "b.com", "{number: 1000, name: p, protocol: MONGO}", "10.9.0.0/16"));
  EXPECT_EQ(chains("0.0.0.0_1000").size(), 3u);
}

// ---- Gateways

std::string gateway(const std::string& servers) {
  return "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: g, namespace: ns}, spec: {selector: "
         "{app: s}, servers: [" +
         servers +
         "]}}\n---\n{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v, namespace: ns}, "
         "spec: {hosts: ['*'], gateways: [g], tcp: [{route: [{destination: {host: s, port: {number: 1000}}}]}], tls: "
         "[{match: [{sniHosts: [a.com]}], route: [{destination: {host: s, port: {number: 1000}}}]}]}}\n";
}

TEST_F(ProtocolSharing, gateway_carries_databases_as_tcp) {
  for (std::string protocol : {"TCP", "mongo", "MYSQL", "Redis"}) {
    load_named("tcp", gateway("{port: {number: 7, name: p, protocol: " + protocol + "}, hosts: ['*']}"));
    auto listener = get<Listener>(Type::kListener, "0.0.0.0_7", "server");
    ASSERT_EQ(listener.filter_chains_size(), 1) << protocol;
    EXPECT_EQ(describe(listener.filter_chains(0)), std::string("-> tcp ") + kCluster) << protocol;
    EXPECT_EQ(inspectors_of(listener), "") << protocol;
  }
}

TEST_F(ProtocolSharing, gateway_takes_http2_and_grpc_as_http) {
  for (std::string protocol : {"HTTP", "http2", "GRPC"}) {
    load_named("tcp", gateway("{port: {number: 7, name: p, protocol: " + protocol + "}, hosts: ['*']}"));
    EXPECT_EQ(describe(get<Listener>(Type::kListener, "0.0.0.0_7", "server").filter_chains(0)), "-> http http.7");
  }
}

TEST_F(ProtocolSharing, gateway_port_has_one_plain_tcp_server) {
  std::string tcp = "{port: {number: 7, name: p1, protocol: TCP}, hosts: ['*']}";
  std::string mongo = "{port: {number: 7, name: p2, protocol: MONGO}, hosts: ['*']}";
  std::string tls = "{port: {number: 7, name: p3, protocol: TLS}, hosts: ['a.com'], tls: {mode: PASSTHROUGH}}";
  auto count = [&](const std::string& servers) {
    load_named("tcp", gateway(servers));
    return get<Listener>(Type::kListener, "0.0.0.0_7", "server").filter_chains_size();
  };
  EXPECT_EQ(count(tcp + ", " + mongo), 1);
  EXPECT_EQ(count(tcp + ", " + tls), 1);
  EXPECT_EQ(count(tls + ", " + tcp), 2);
}

}  // namespace
}  // namespace pinnace::translator
