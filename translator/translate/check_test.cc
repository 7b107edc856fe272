#include "translator/translate/check.h"

#include <gtest/gtest.h>

#include "translator/fetch/parse.h"

namespace pinnace::translator {
namespace {

using Lines = std::vector<std::string>;

Lines warnings(const std::string& text) {
  auto parsed = parse_file(text, "f");
  for (auto& problem : parsed.problems) ADD_FAILURE() << problem.line << ": " << problem.reason;
  std::vector<const Object*> objects;
  for (auto& object : parsed.objects) objects.push_back(&object);
  return check(objects, *MeshState::build(objects, {}));
}

constexpr char kService[] =
    "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: ns}, spec: {ports: [{name: http, port: "
    "80}]}}\n---\n";

std::string rule(const std::string& spec) {
  return "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: r, namespace: ns}, spec: " +
         spec + "}\n";
}

TEST(Check, sound_mesh_has_no_warnings) {
  EXPECT_EQ(warnings(kService + rule("{hosts: [a], http: [{route: [{destination: {host: a, port: {number: 80}}}]}]}")),
            Lines{});
}

TEST(Check, destinations_that_are_nowhere) {
  EXPECT_EQ(
      warnings(kService + rule("{hosts: [a], gateways: [gw], http: [{route: [{destination: {host: b}}]}]}")),
      (Lines{"f:3: warning: destination b.ns.svc.cluster.local: no such service", "f:3: warning: no Gateway ns/gw"}));
  EXPECT_EQ(warnings(kService +
                     rule("{hosts: [a], http: [{route: [{destination: {host: a, subset: v1, port: {number: 1}}}]}]}")),
            (Lines{"f:3: warning: destination a.ns.svc.cluster.local: no DestinationRule defines subset v1",
                   "f:3: warning: destination a.ns.svc.cluster.local: no port 1"}));
}

TEST(Check, two_objects_of_one_name) {
  EXPECT_EQ(warnings(std::string(kService) + kService), Lines{"f:3: warning: ns/a is already defined in f:1"});
}

TEST(Check, servers_that_cannot_share_a_port) {
  auto gateway = [](const std::string& name, const std::string& server) {
    return "---\n{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: " + name +
           ", namespace: ns}, spec: {selector: {g: w}, servers: [" + server + "]}}\n";
  };
  auto text =
      "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: ns, labels: {g: w}}, status: {podIP: 10.0.0.1}}\n" +
      gateway("a", "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}") +
      gateway("b", "{port: {number: 80, name: tls, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}");
  ASSERT_EQ(warnings(text).size(), 1u);
  EXPECT_NE(warnings(text)[0].find("cannot share port 80"), std::string::npos);
}

TEST(Check, ports_beside_a_protocol_whose_server_speaks_first) {
  auto entry = [](const std::string& host, const std::string& protocol) {
    return "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: " + host +
           ", namespace: ns}, spec: {hosts: [" + host + "], ports: [{number: 9, name: p, protocol: " + protocol +
           "}]}}\n---\n";
  };
  std::string pod = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: ns}, status: {podIP: 10.0.0.1}}\n";
  EXPECT_EQ(warnings(entry("a.com", "MONGO") + entry("b.com", "HTTP") + pod),
            Lines{"f:3: warning: b.com: port 9 is left out: it shares 0.0.0.0:9, and Mongo and MySQL, whose servers "
                  "speak first, stand beside no other protocol"});
  EXPECT_EQ(warnings(entry("a.com", "TCP") + entry("b.com", "HTTP") + pod), Lines{});
}

}  // namespace
}  // namespace pinnace::translator
