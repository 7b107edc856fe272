// What each protocol of a Service port becomes: listeners, inbound chains, clusters. The expectations are istiod's
// shapes.
#include "translator/translate/protocol_shapes_test_support.h"

namespace pinnace::translator {
namespace {

using namespace shapes;

std::string peer(const std::string& mode) {
  return "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default, namespace: ns}, spec: "
         "{mtls: {mode: " +
         mode + "}}}\n";
}

TEST_F(ProtocolShapes, http_protocols_share_a_listener_by_port) {
  for (auto name : {"http", "http2", "grpc", "grpc-web"}) {
    SCOPED_TRACE(name);
    load_named(name);
    EXPECT_EQ(outbound_listeners(), Lines{"0.0.0.0_1000"});
    EXPECT_EQ(chains("0.0.0.0_1000"), (Lines{std::string(kRaw) + " -> http 1000", "else -> tcp PassthroughCluster"}));
    EXPECT_EQ(inspectors("0.0.0.0_1000"), "http_inspector");
    EXPECT_TRUE(resources(Type::kRoute, "client").contains("1000"));
  }
}

TEST_F(ProtocolShapes, tcp_protocols_listen_on_the_service_address_and_look_at_nothing) {
  for (auto name : {"tcp", "tls", "https", "mongo", "mysql", "redis"}) {
    SCOPED_TRACE(name);
    load_named(name);
    EXPECT_EQ(outbound_listeners(), Lines{"10.0.0.1_1000"});
    EXPECT_EQ(chains("10.0.0.1_1000"), Lines{std::string("-> tcp ") + kCluster});
    EXPECT_EQ(inspectors("10.0.0.1_1000"), "");
    EXPECT_TRUE(resources(Type::kRoute, "client").empty());
  }
}

TEST_F(ProtocolShapes, unnamed_port_is_sniffed_on_the_service_address) {
  for (auto port : {"{port: 1000}", "{name: x, port: 1000}", "{name: http, appProtocol: kafka, port: 1000}"}) {
    SCOPED_TRACE(port);
    load(port);
    EXPECT_EQ(outbound_listeners(), Lines{"10.0.0.1_1000"});
    EXPECT_EQ(chains("10.0.0.1_1000"), (Lines{std::string(kRaw) + " -> http s.ns.svc.cluster.local:1000",
                                              std::string("else -> tcp ") + kCluster}));
    EXPECT_EQ(inspectors("10.0.0.1_1000"), "http_inspector");
  }
}

TEST_F(ProtocolShapes, app_protocol_decides_over_the_name) {
  load("{name: tcp, appProtocol: kubernetes.io/h2c, port: 1000}");
  EXPECT_EQ(outbound_listeners(), Lines{"0.0.0.0_1000"});
  EXPECT_EQ(upstream(kCluster), "h2");
  load("{name: http, appProtocol: kubernetes.io/wss, port: 1000}");
  EXPECT_EQ(outbound_listeners(), Lines{"10.0.0.1_1000"});
  EXPECT_EQ(upstream(kCluster), "plain");
}

TEST_F(ProtocolShapes, clusters_speak_what_the_port_speaks) {
  for (auto& [name, expected] : std::vector<std::pair<const char*, const char*>>{{"http", "plain"},
                                                                                 {"http2", "h2"},
                                                                                 {"grpc", "h2"},
                                                                                 {"grpc-web", "h2"},
                                                                                 {"https", "plain"},
                                                                                 {"tls", "plain"},
                                                                                 {"tcp", "plain"},
                                                                                 {"mongo", "plain"},
                                                                                 {"mysql", "plain"},
                                                                                 {"redis", "plain"},
                                                                                 {"x", "as downstream"}}) {
    load_named(name);
    EXPECT_EQ(upstream(kCluster), expected) << name;
    EXPECT_EQ(upstream("inbound|2000||", "server"), expected) << name;
  }
}

TEST_F(ProtocolShapes, inbound_chains_follow_the_protocol) {
  std::string all = "tls,istio,istio-peer-exchange,istio-http/1.0,istio-http/1.1,istio-h2";
  std::string http = " -> http inbound|2000||", tcp = " -> tcp inbound|2000||";
  load_named("http");
  EXPECT_EQ(inbound_chains(2000), (Lines{all + http, "raw_buffer" + http}));
  for (auto name : {"http2", "grpc", "grpc-web"}) {
    load_named(name);
    EXPECT_EQ(inbound_chains(2000), (Lines{all + http + " h2", "raw_buffer" + http + " h2"})) << name;
  }
  for (auto name : {"tcp", "tls", "https", "mongo", "mysql", "redis"}) {
    load_named(name);
    EXPECT_EQ(inbound_chains(2000), (Lines{all + tcp, "tls" + tcp, "raw_buffer" + tcp})) << name;
  }
  load_named("x");
  EXPECT_EQ(inbound_chains(2000), (Lines{"tls,istio-http/1.0,istio-http/1.1,istio-h2" + http, kRaw + http,
                                         "tls,istio-peer-exchange,istio" + tcp, "raw_buffer" + tcp, "tls" + tcp}));
}

// The names of an HttpConnectionManager's filters.
Lines http_filters(const FilterChain& chain) {
  Hcm hcm;
  Lines out;
  EXPECT_TRUE(chain.filters(0).typed_config().UnpackTo(&hcm));
  for (auto& filter : hcm.http_filters()) out.push_back(filter.name().substr(filter.name().rfind('.') + 1));
  return out;
}

TEST_F(ProtocolShapes, grpc_web_is_converted_where_the_port_says_so) {
  for (std::string name : {"http", "http2", "grpc", "grpc-web"}) {
    SCOPED_TRACE(name);
    Lines expected = {"grpc_stats", "fault", "cors", "router"};
    if (name == "grpc-web") expected.insert(expected.begin(), "grpc_web");
    load_named(name);
    EXPECT_EQ(http_filters(get<Listener>(Type::kListener, "0.0.0.0_1000").filter_chains(0)), expected);
    auto inbound = get<Listener>(Type::kListener, "virtualInbound", "server");
    for (auto& chain : inbound.filter_chains()) {
      if (chain.filter_chain_match().destination_port().value() != 2000) continue;
      EXPECT_EQ(http_filters(chain), expected);
    }
  }
}

TEST_F(ProtocolShapes, a_gateway_converts_grpc_web_where_its_server_says_so) {
  for (auto& [protocol, first] : std::vector<std::pair<std::string, std::string>>{
           {"HTTP", "grpc_stats"}, {"GRPC", "grpc_stats"}, {"GRPC-WEB", "grpc_web"}}) {
    SCOPED_TRACE(protocol);
    load_named(
        "grpc",
        "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: g, namespace: ns}, spec: {selector: "
        "{app: g}, servers: [{port: {number: 80, name: p, protocol: " +
            protocol +
            "}, hosts: ['*']}]}}\n---\n{apiVersion: v1, kind: Pod, metadata: {name: g, namespace: ns, labels: "
            "{app: g}}, spec: {}, status: {podIP: 10.1.0.3}}\n");
    auto listener = get<Listener>(Type::kListener, "0.0.0.0_80", "g");
    EXPECT_EQ(http_filters(listener.filter_chains(0)).front(), first);
  }
}

TEST_F(ProtocolShapes, grpc_is_not_retried_by_the_receiver) {
  auto retries = [&] {
    Hcm hcm;
    auto listener = get<Listener>(Type::kListener, "virtualInbound", "server");
    for (auto& chain : listener.filter_chains())
      if (chain.filter_chain_match().destination_port().value() == 2000) chain.filters(0).typed_config().UnpackTo(&hcm);
    return hcm.route_config().virtual_hosts(0).routes(0).route().has_retry_policy();
  };
  for (auto& [name, expected] : std::vector<std::pair<const char*, bool>>{
           {"http", true}, {"http2", true}, {"grpc", false}, {"grpc-web", false}}) {
    load_named(name);
    EXPECT_EQ(retries(), expected) << name;
  }
}

TEST_F(ProtocolShapes, udp_ports_are_passed_by_outbound_and_taken_as_tcp_inbound) {
  for (auto port :
       {"{name: http, protocol: UDP, port: 1000, targetPort: 2000}", "{name: udp-x, port: 1000, targetPort: 2000}"}) {
    SCOPED_TRACE(port);
    load(port);
    EXPECT_EQ(outbound_listeners(), Lines{});
    EXPECT_FALSE(resources(Type::kCluster, "client").contains(kCluster));
    EXPECT_TRUE(resources(Type::kEndpoint, "client").empty());
    EXPECT_EQ(inbound_chains(2000).back(), "raw_buffer -> tcp inbound|2000||");
  }
}

TEST_F(ProtocolShapes, udp_and_tcp_of_one_number_keep_their_endpoints_apart) {
  load("{name: quic, protocol: UDP, port: 1000, targetPort: 3000}, {name: http, port: 1000, targetPort: 2000}");
  auto endpoints = get<envoy::config::endpoint::v3::ClusterLoadAssignment>(Type::kEndpoint, kCluster);
  EXPECT_EQ(endpoints.endpoints(0).lb_endpoints(0).endpoint().address().socket_address().port_value(), 2000u);
  auto routes = get<envoy::config::route::v3::RouteConfiguration>(Type::kRoute, "1000");
  EXPECT_EQ(routes.virtual_hosts(0).name(), "s.ns.svc.cluster.local:1000");
}

TEST_F(ProtocolShapes, only_a_listener_that_looks_for_http_gives_up_waiting) {
  MeshConfig config;
  config.protocol_detection_timeout = std::chrono::seconds(5);
  load("{name: tcp, port: 1000}, {name: http, port: 1001}, {name: x, port: 1002}", "", config);
  auto timeout = [&](const std::string& name) {
    auto listener = get<Listener>(Type::kListener, name);
    EXPECT_TRUE(listener.has_listener_filters_timeout() && listener.continue_on_listener_filters_timeout()) << name;
    return listener.listener_filters_timeout().seconds();
  };
  EXPECT_EQ(timeout("10.0.0.1_1000"), 0);
  EXPECT_EQ(timeout("0.0.0.0_1001"), 5);
  EXPECT_EQ(timeout("10.0.0.1_1002"), 5);
  EXPECT_EQ(timeout("virtualInbound"), 5);
}

constexpr char kThree[] =
    "{name: mysql, port: 1000, targetPort: 30000}, {name: http, port: 1001, targetPort: 2001}, {name: x, port: 1002, "
    "targetPort: 2002}";

TEST_F(ProtocolShapes, inbound_inspectors_are_disabled_port_by_port) {
  load(kThree);
  EXPECT_EQ(inspectors("virtualInbound", "server"), "original_dst tls_inspector:15006 http_inspector:2001,15006,30000");
}

TEST_F(ProtocolShapes, inbound_chains_stand_in_order_of_their_ports) {
  load(kThree);
  std::vector<uint32_t> ports;
  auto listener = get<Listener>(Type::kListener, "virtualInbound", "server");
  for (auto& chain : listener.filter_chains())
    if (auto port = chain.filter_chain_match().destination_port().value(); port != 0 && port != 15006)
      ports.push_back(port);
  EXPECT_TRUE(ports.size() == 10 && std::is_sorted(ports.begin(), ports.end()));
}

TEST_F(ProtocolShapes, strict_ports_are_not_looked_at_for_http) {
  load(kThree, peer("STRICT"));
  EXPECT_EQ(inspectors("virtualInbound", "server"), "original_dst tls_inspector:15006");
}

TEST_F(ProtocolShapes, without_mtls_a_server_may_speak_first) {
  load(kThree, peer("DISABLE"));
  EXPECT_EQ(inspectors("virtualInbound", "server"), "original_dst http_inspector:2001,15006,30000");
  EXPECT_EQ(inbound_chains(30000), Lines{"raw_buffer -> tcp inbound|30000||"});
  EXPECT_EQ(inbound_chains(2002),
            (Lines{std::string(kRaw) + " -> http inbound|2002||", "raw_buffer -> tcp inbound|2002||"}));
  load(kThree, peer("DISABLE") +
                   "---\n{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: s, namespace: "
                   "ns}, spec: {selector: {matchLabels: {app: s}}, portLevelMtls: {2001: {mode: STRICT}}}}\n");
  EXPECT_EQ(inspectors("virtualInbound", "server"), "original_dst tls_inspector:!2001 http_inspector:2001,15006,30000");
}

}  // namespace
}  // namespace pinnace::translator
