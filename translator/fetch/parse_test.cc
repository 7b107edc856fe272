#include "translator/fetch/parse.h"

#include <gtest/gtest.h>

namespace pinnace::translator {
namespace {

std::string header(const std::string& kind) {
  return "apiVersion: networking.istio.io/v1\nkind: " + kind + "\nmetadata: {name: x, namespace: ns}\nspec:\n";
}

// The problems as "line: reason".
std::vector<std::string> problems(const std::string& text) {
  std::vector<std::string> out;
  for (auto& problem : parse_file(text, "f.yaml").problems)
    out.push_back(std::to_string(problem.line) + ": " + problem.reason);
  return out;
}

using Lines = std::vector<std::string>;

TEST(Parse, several_documents_and_kinds_without_meaning_for_traffic) {
  auto parsed = parse_file(
      "---\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n---\n"
      "{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}\n---\n"
      "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}\n",
      "f");
  EXPECT_TRUE(parsed.problems.empty());
  EXPECT_EQ(parsed.objects.size(), 1u);
}

TEST(Parse, broken_yaml_names_its_line) {
  EXPECT_EQ(problems("a: 1\nb: [\n").size(), 1u);
  EXPECT_EQ(problems("kind: [\n")[0].substr(0, 3), "2: ");
}

TEST(Parse, unknown_field_and_wrong_type_are_named) {
  EXPECT_EQ(problems(header("Gateway") + "  selector: {a: b}\n  severs: []\n"), Lines{"6: spec.severs: unknown field"});
  EXPECT_EQ(problems(header("DestinationRule") + "  host: [a]\n"),
            (Lines{"5: spec.host: expected text", "5: spec: host is required"}));
}

TEST(Parse, unsupported_rules_are_refused_by_name) {
  auto route = header("VirtualService") + "  hosts: [a]\n  http:\n  - route: [{destination: {host: a}}]\n";
  for (std::string rule : {"fault: {abort: {httpStatus: 500}}", "mirror: {host: b}", "corsPolicy: {maxAge: 1s}"})
    EXPECT_EQ(problems(route + "    " + rule + "\n"),
              Lines{"8: spec.http[0]." + rule.substr(0, rule.find(':')) + ": is not supported yet"});
  EXPECT_EQ(problems(header("DestinationRule") + "  host: a\n  trafficPolicy:\n    outlierDetection: {interval: 1s}\n"),
            Lines{"7: spec.trafficPolicy.outlierDetection: is not supported yet"});
  EXPECT_EQ(problems("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x}\n"),
            Lines{"1: kind AuthorizationPolicy (security.istio.io) is not supported yet"});
}

TEST(Parse, protocols_that_cannot_be_honoured_are_refused_by_name) {
  auto service = [](const std::string& port) {
    return problems("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports:\n  - " + port + "\n");
  };
  EXPECT_EQ(service("{name: a, port: 1, protocol: SCTP}"), Lines{});
  EXPECT_EQ(service("{name: a, port: 1, protocol: tcp}"),
            Lines{"6: spec.ports[0].protocol: tcp: expected TCP, UDP or SCTP"});
  EXPECT_EQ(service("{name: a, port: 1, appProtocol: http_proxy}"),
            Lines{"6: spec.ports[0].appProtocol: http_proxy is no protocol of a service"});

  auto entry = [](const std::string& rest) { return problems(header("ServiceEntry") + rest); };
  EXPECT_EQ(entry("  hosts: [a.com]\n  ports:\n  - {number: 1, name: p, protocol: kafka}\n"),
            Lines{"7: spec.ports[0].protocol: kafka is no protocol of a ServiceEntry"});
  EXPECT_EQ(entry("  hosts: [a.com, b.com]\n  resolution: DNS\n  ports:\n  - {number: 1, name: p, protocol: MONGO}\n"),
            Lines{"5: spec.hosts: several hosts need ports of protocol HTTP or TLS, or resolution NONE"});
  EXPECT_EQ(entry("  hosts: [a.com, b.com]\n  resolution: DNS\n  ports:\n  - {number: 1, name: p, protocol: tls}\n"),
            Lines{});

  auto server = [](const std::string& protocol, const std::string& rest = "") {
    return problems(header("Gateway") + "  selector: {a: b}\n  servers:\n  - {port: {number: 1, name: p, protocol: " +
                    protocol + "}, hosts: ['*']" + rest + "}\n");
  };
  for (auto good : {"http", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "Mongo", "MYSQL", "redis"})
    EXPECT_EQ(server(good), Lines{}) << good;
  for (std::string bad : {"UDP", "HTTP_PROXY", "kafka"})
    EXPECT_EQ(server(bad), Lines{"7: spec.servers[0].port.protocol: " + bad +
                                 ": expected HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, MYSQL or REDIS"});
  EXPECT_EQ(server("HTTP", ", tls: {httpsRedirect: true}"), Lines{});
  EXPECT_EQ(server("HTTP", ", tls: {mode: SIMPLE, credentialName: c}"),
            Lines{"7: spec.servers[0].tls: needs protocol HTTPS or TLS, not HTTP"});
  EXPECT_EQ(server("mongo", ", tls: {mode: PASSTHROUGH}"),
            Lines{"7: spec.servers[0].tls: needs protocol HTTPS or TLS, not Mongo"});
}

TEST(Parse, header_formatters_are_refused) {
  EXPECT_EQ(problems(header("VirtualService") + "  hosts: [a]\n  http:\n  - route: [{destination: {host: a}}]\n"
                                                "    headers: {request: {set: {x: \"%START_TIME%\"}}}\n")
                .size(),
            1u);
}

TEST(Parse, a_route_needs_one_action) {
  EXPECT_EQ(problems(header("VirtualService") + "  hosts: [a]\n  http:\n  - name: n\n"),
            Lines{"7: spec.http[0]: expected exactly one of route, redirect, directResponse"});
}

TEST(Parse, virtual_service_in_full) {
  auto parsed = parse_file(header("VirtualService") + R"(  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /a}, headers: {user: {exact: j}, any: {}}, withoutHeaders: {no: {}}, ignoreUriCase: true}]
    route:
    - {destination: {host: reviews, subset: v1, port: {number: 80}}, weight: 80, headers: {request: {set: {a: b}}}}
    - {destination: {host: reviews, subset: v2}, weight: 20}
    timeout: 1m30s
    retries: {attempts: 3, perTryTimeout: 0.25s, retryOn: "5xx,503"}
)",
                           "f.yaml");
  ASSERT_TRUE(parsed.problems.empty()) << parsed.problems[0].reason;
  auto& rule = std::get<VirtualService>(parsed.objects[0]);
  auto& route = rule.http[0];
  EXPECT_EQ(route.matches[0].uri->value, "/a");
  EXPECT_EQ(route.matches[0].headers.at("any").kind, StringMatch::Kind::kPresent);
  EXPECT_EQ(route.destinations[0].weight, 80u);
  EXPECT_EQ(*route.timeout, std::chrono::seconds(90));
  EXPECT_EQ(*route.retries->per_try_timeout, std::chrono::milliseconds(250));
}

TEST(Parse, durations) {
  EXPECT_EQ(parse_duration("1h1m1s1ms"), Duration(std::chrono::milliseconds(3661001)));
  for (auto bad : {"", "5", "s", "-1s", "1d"}) EXPECT_FALSE(parse_duration(bad)) << bad;
}

TEST(Parse, mesh_config) {
  auto config = parse_mesh_config("accessLogFile: /dev/stdout\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}\n", "m");
  ASSERT_TRUE(config);
  EXPECT_TRUE(config->registry_only);
  EXPECT_EQ(parse_mesh_config("a: 1\n", "m.yaml").error().message, "m.yaml:1: a: unknown field");
}

}  // namespace
}  // namespace pinnace::translator
