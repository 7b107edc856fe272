#include "translator/translate/translate.h"

#include <gtest/gtest.h>

#include "envoy/config/cluster/v3/cluster.pb.h"
#include "envoy/config/endpoint/v3/endpoint.pb.h"
#include "envoy/config/listener/v3/listener.pb.h"
#include "envoy/config/route/v3/route.pb.h"
#include "translator/fetch/parse.h"

namespace pinnace::translator {
namespace {

using envoy::config::cluster::v3::Cluster;
using envoy::config::endpoint::v3::ClusterLoadAssignment;
using envoy::config::listener::v3::Listener;
using envoy::config::route::v3::RouteConfiguration;

constexpr char kMesh[] = R"(
{apiVersion: v1, kind: Service, metadata: {name: a, namespace: ns}, spec: {clusterIP: 10.0.0.1, selector: {app: a},
 ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9000}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a-0, namespace: ns, labels: {app: a, version: v1}},
 spec: {serviceAccountName: sa}, status: {podIP: 10.1.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b-0, namespace: ns, labels: {app: b}}, spec: {}, status: {podIP: 10.1.0.2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: far-0, namespace: far, labels: {app: far}},
 spec: {}, status: {podIP: 10.1.0.3}}
)";

class TranslateTest : public testing::Test {
 protected:
  void load(const std::string& extra, MeshConfig config = {}) {
    parsed = parse_file(std::string(kMesh) + (extra.empty() ? "" : "---\n" + extra), "mesh.yaml");
    for (auto& problem : parsed.problems) ADD_FAILURE() << problem.line << ": " << problem.reason;
    std::vector<const Object*> objects;
    for (auto& object : parsed.objects) objects.push_back(&object);
    state = MeshState::build(objects, std::move(config));
  }
  template <class Message>
  Message get(Type type, const std::string& name, const std::string& pod = "a-0", const std::string& ns = "ns") {
    auto set = translate(*state, proxy_facts(*state, *state->pod(pod, ns)));
    auto& of_type = (*set)[static_cast<size_t>(type)];
    Message out;
    auto found = of_type.find(name);
    EXPECT_NE(found, of_type.end()) << name;
    if (found != of_type.end()) out.ParseFromString(found->second.bytes);
    return out;
  }
  // "transport/first alpn/T or -" of every inbound chain of a port, T where TLS is terminated.
  std::vector<std::string> inbound_chains(uint32_t port) {
    std::vector<std::string> out;
    auto listener = get<Listener>(Type::kListener, "virtualInbound");
    for (auto& chain : listener.filter_chains()) {
      auto& match = chain.filter_chain_match();
      if (match.destination_port().value() != port) continue;
      out.push_back(match.transport_protocol() + "/" +
                    (match.application_protocols_size() ? match.application_protocols(0) : "") + "/" +
                    (chain.has_transport_socket() ? "T" : "-"));
    }
    return out;
  }
  static std::string peer(const std::string& name, const std::string& ns, const std::string& spec) {
    return "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: " + name +
           ", namespace: " + ns + "}, spec: " + spec + "}\n";
  }

  ParsedFile parsed;
  std::shared_ptr<const MeshState> state;
};

using Chains = std::vector<std::string>;

TEST_F(TranslateTest, endpoints_come_from_pods_when_nobody_writes_slices) {
  load("");
  auto endpoints = get<ClusterLoadAssignment>(Type::kEndpoint, "outbound|80||a.ns.svc.cluster.local");
  ASSERT_EQ(endpoints.endpoints(0).lb_endpoints_size(), 1);
  auto& address = endpoints.endpoints(0).lb_endpoints(0).endpoint().address().socket_address();
  EXPECT_EQ(address.address() + ":" + std::to_string(address.port_value()), "10.1.0.1:8080");
}

TEST_F(TranslateTest, permissive_takes_both_strict_only_mtls_disable_only_plain) {
  load("");
  EXPECT_EQ(inbound_chains(8080), (Chains{"tls/istio/T", "raw_buffer//-"}));
  load(peer("default", "istio-system", "{mtls: {mode: STRICT}}"));
  EXPECT_EQ(inbound_chains(8080), (Chains{"tls//T"}));
  EXPECT_EQ(inbound_chains(9000), (Chains{"tls//T"}));
  load(peer("default", "ns", "{mtls: {mode: DISABLE}}"));
  EXPECT_EQ(inbound_chains(8080), (Chains{"raw_buffer//-"}));
}

TEST_F(TranslateTest, narrower_peer_authentication_wins) {
  load(peer("default", "istio-system", "{mtls: {mode: STRICT}}") + "---\n" +
       peer("default", "ns", "{mtls: {mode: PERMISSIVE}}") + "---\n" +
       peer("a", "ns",
            "{selector: {matchLabels: {app: a}}, portLevelMtls: {9000: {mode: STRICT}, 7: {mode: DISABLE}}}"));
  EXPECT_EQ(inbound_chains(8080), (Chains{"tls/istio/T", "raw_buffer//-"}));
  EXPECT_EQ(inbound_chains(9000), (Chains{"tls//T"}));
  EXPECT_EQ(inbound_chains(7).front(), "raw_buffer/http/1.1/-");
}

TEST_F(TranslateTest, disabled_mtls_is_dialled_in_plain_text) {
  load(peer("default", "ns", "{mtls: {mode: DISABLE}}"));
  auto endpoints = get<ClusterLoadAssignment>(Type::kEndpoint, "outbound|80||a.ns.svc.cluster.local");
  EXPECT_FALSE(
      endpoints.endpoints(0).lb_endpoints(0).metadata().filter_metadata().contains("envoy.transport_socket_match"));
}

TEST_F(TranslateTest, registry_only_blocks_what_is_not_known) {
  MeshConfig config;
  config.registry_only = true;
  load("", config);
  auto routes = get<RouteConfiguration>(Type::kRoute, "80");
  auto& last = routes.virtual_hosts(routes.virtual_hosts_size() - 1);
  EXPECT_EQ(last.name(), "block_all");
  EXPECT_EQ(last.routes(0).direct_response().status(), 502u);
  auto outbound = get<Listener>(Type::kListener, "virtualOutbound").SerializeAsString();
  EXPECT_EQ(outbound.find("PassthroughCluster"), std::string::npos);
}

TEST_F(TranslateTest, names_a_neighbour_may_use_depend_on_its_namespace) {
  load("");
  auto own = get<RouteConfiguration>(Type::kRoute, "80").virtual_hosts(0);
  EXPECT_EQ(Chains(own.domains().begin(), own.domains().end()),
            (Chains{"a.ns.svc.cluster.local", "a.ns.svc.cluster.local.", "a", "a.ns.svc", "a.ns", "10.0.0.1"}));
  auto far = get<RouteConfiguration>(Type::kRoute, "80", "far-0", "far").virtual_hosts(0);
  EXPECT_EQ(Chains(far.domains().begin(), far.domains().end()),
            (Chains{"a.ns.svc.cluster.local", "a.ns.svc.cluster.local.", "a.ns", "a.ns.svc", "10.0.0.1"}));
}

TEST_F(TranslateTest, rules_apply_by_source_labels_and_stop_at_a_catch_all) {
  load(
      R"({apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, namespace: ns},
    spec: {hosts: [a], http: [
    {name: for-b, match: [{sourceLabels: {app: b}}], route: [{destination: {host: a, subset: v1}}]},
    {name: rest, route: [{destination: {host: a}}]},
    {name: never, match: [{uri: {exact: /x}}], route: [{destination: {host: a}}]}]}})");
  auto of_a = get<RouteConfiguration>(Type::kRoute, "80").virtual_hosts(0);
  ASSERT_EQ(of_a.routes_size(), 1);
  EXPECT_EQ(of_a.routes(0).name(), "rest");
  EXPECT_EQ(get<RouteConfiguration>(Type::kRoute, "80", "b-0").virtual_hosts(0).routes(0).name(), "for-b");
}

TEST_F(TranslateTest, rule_of_an_unknown_host_lives_on_port_80) {
  load(
      "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: x, namespace: ns}, "
      "spec: {hosts: [x.example.com], http: [{route: [{destination: {host: a}}]}]}}");
  auto routes = get<RouteConfiguration>(Type::kRoute, "80");
  EXPECT_EQ(routes.virtual_hosts(1).name(), "x.example.com:80");
}

TEST_F(TranslateTest, port_settings_replace_the_whole_policy) {
  load(
      "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a, namespace: ns}, spec: {host: a, "
      "trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 7}}, "
      "portLevelSettings: [{port: {number: 9000}, tls: {mode: DISABLE}}]}}}");
  auto http = get<Cluster>(Type::kCluster, "outbound|80||a.ns.svc.cluster.local");
  EXPECT_EQ(http.lb_policy(), Cluster::RANDOM);
  EXPECT_EQ(http.circuit_breakers().thresholds(0).max_connections().value(), 7u);
  auto tcp = get<Cluster>(Type::kCluster, "outbound|9000||a.ns.svc.cluster.local");
  EXPECT_EQ(tcp.lb_policy(), Cluster::LEAST_REQUEST);
  EXPECT_EQ(tcp.transport_socket_matches_size(), 0);
  EXPECT_FALSE(tcp.has_transport_socket());
}

TEST_F(TranslateTest, setting_the_host_header_rewrites_the_authority) {
  load(
      "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, namespace: ns}, spec: {hosts: "
      "[a], "
      "http: [{route: [{destination: {host: a}}], headers: {request: {set: {Host: other, x: y}}}}]}}");
  auto route = get<RouteConfiguration>(Type::kRoute, "80").virtual_hosts(0).routes(0);
  EXPECT_EQ(route.route().host_rewrite_literal(), "other");
  EXPECT_EQ(route.request_headers_to_add_size(), 1);
}

TEST_F(TranslateTest, slice_and_endpoints_of_one_address_are_one_endpoint) {
  load(
      "{apiVersion: v1, kind: Endpoints, metadata: {name: a, namespace: ns}, subsets: [{addresses: [{ip: 10.1.0.1}], "
      "ports: [{name: http, port: 8080}]}]}\n---\n"
      "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a-1, namespace: ns, labels: "
      "{kubernetes.io/service-name: a}}, endpoints: [{addresses: [10.1.0.1], targetRef: {kind: Pod, name: a-0}}], "
      "ports: [{name: http, port: 8080}, {name: tcp, port: 9000}]}");
  for (auto name : {"outbound|80||a.ns.svc.cluster.local", "outbound|9000||a.ns.svc.cluster.local"})
    EXPECT_EQ(get<ClusterLoadAssignment>(Type::kEndpoint, name).endpoints(0).lb_endpoints_size(), 1) << name;
}

TEST_F(TranslateTest, equal_input_gives_equal_bytes) {
  load("");
  auto facts = proxy_facts(*state, *state->pod("a-0", "ns"));
  auto first = translate(*state, facts), second = translate(*state, facts);
  for (size_t i = 0; i < kTypes; i++)
    for (auto& [name, resource] : (*first)[i]) EXPECT_EQ(resource.version, (*second)[i].at(name).version) << name;
}

TEST(NodeId, says_who_and_what) {
  auto node = parse_node_id("router~10.0.0.1~gw-0.istio-system~istio-system.svc.cluster.local");
  ASSERT_TRUE(node);
  EXPECT_TRUE(node->router);
  EXPECT_EQ(node->pod + "/" + node->ns, "gw-0/istio-system");
  for (auto bad : {"", "a~b", "waypoint~1~a.b~c", "sidecar~1~ab~c"}) EXPECT_FALSE(parse_node_id(bad)) << bad;
}

}  // namespace
}  // namespace pinnace::translator
