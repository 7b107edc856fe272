// For tests: one service whose port the test writes, a client and a server, and what they get, in short lines of text.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "envoy/config/cluster/v3/cluster.pb.h"
#include "envoy/config/endpoint/v3/endpoint.pb.h"
#include "envoy/config/listener/v3/listener.pb.h"
#include "envoy/config/route/v3/route.pb.h"
#include "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.pb.h"
#include "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.pb.h"
#include "envoy/extensions/upstreams/http/v3/http_protocol_options.pb.h"
#include "translator/fetch/parse.h"
#include "translator/translate/translate.h"

namespace pinnace::translator::shapes {

using envoy::config::cluster::v3::Cluster;
using envoy::config::listener::v3::FilterChain;
using envoy::config::listener::v3::Listener;
using envoy::config::listener::v3::ListenerFilter;
using Hcm = envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
using envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
using HttpOptions = envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
using Lines = std::vector<std::string>;

// The client, the server and its service "s" at 10.0.0.1:1000, the port written by the test.
inline constexpr char kMesh[] = R"(
{{apiVersion: v1, kind: Pod, metadata: {{name: client, namespace: ns}}, spec: {{}}, status: {{podIP: 10.1.0.1}}}}
---
{{apiVersion: v1, kind: Pod, metadata: {{name: server, namespace: ns, labels: {{app: s}}}}, status: {{podIP: 10.1.0.2}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: s, namespace: ns}}, spec: {{clusterIP: 10.0.0.1, selector: {{app: s}},
 ports: [{}]}}}}
)";
inline constexpr char kCluster[] = "outbound|1000||s.ns.svc.cluster.local";

inline std::string filter_of(const FilterChain& chain) {
  auto& any = chain.filters(chain.filters_size() - 1).typed_config();
  Hcm hcm;
  TcpProxy tcp;
  if (any.UnpackTo(&hcm))
    return fmt::format("http {}{}", hcm.has_rds() ? hcm.rds().route_config_name() : hcm.route_config().name(),
                       hcm.has_http2_protocol_options() ? " h2" : "");
  EXPECT_TRUE(any.UnpackTo(&tcp));
  return "tcp " + tcp.cluster();
}

// "transport/alpn,alpn/sni/prefix -> filter".
inline std::string describe(const FilterChain& chain) {
  auto& match = chain.filter_chain_match();
  std::string out = match.transport_protocol();
  for (auto& alpn : match.application_protocols()) out += "," + alpn;
  for (auto& name : match.server_names()) out += "/" + name;
  for (auto& range : match.prefix_ranges()) out += "/" + range.address_prefix();
  return out + (out.empty() ? "-> " : " -> ") + filter_of(chain);
}

// The listener filters by name, each with the ports it is disabled on ("!" for all but those).
inline std::string inspectors_of(const Listener& listener) {
  std::string out;
  for (auto& filter : listener.listener_filters()) {
    out += (out.empty() ? "" : " ") + filter.name().substr(filter.name().rfind('.') + 1);
    auto disabled = filter.filter_disabled();
    if (!filter.has_filter_disabled()) continue;
    out += ":";
    if (disabled.has_not_match()) {
      out += "!";
      auto inner = disabled.not_match();
      disabled = inner;
    }
    auto add = [&](auto& one) { out += std::to_string(one.destination_port_range().start()) + ","; };
    if (!disabled.has_or_match()) add(disabled);
    for (auto& rule : disabled.or_match().rules()) add(rule);
    out.pop_back();
  }
  return out;
}

class ProtocolShapes : public testing::Test {
 protected:
  void load(const std::string& port, const std::string& extra = "", MeshConfig config = {}) {
    auto text = fmt::format(kMesh, port) + (extra.empty() ? "" : "---\n" + extra);
    parsed = parse_file(text, "mesh.yaml");
    for (auto& problem : parsed.problems) ADD_FAILURE() << problem.line << ": " << problem.reason;
    std::vector<const Object*> objects;
    for (auto& object : parsed.objects) objects.push_back(&object);
    state = MeshState::build(objects, std::move(config));
  }
  void load_named(const std::string& name, const std::string& extra = "") {
    load(fmt::format("{{name: {}, port: 1000, targetPort: 2000}}", name), extra);
  }
  Resources resources(Type type, const std::string& pod) {
    return (*translate(*state, proxy_facts(*state, *state->pod(pod, "ns"))))[static_cast<size_t>(type)];
  }
  template <class Message>
  Message get(Type type, const std::string& name, const std::string& pod = "client") {
    auto set = resources(type, pod);
    Message out;
    auto found = set.find(name);
    EXPECT_NE(found, set.end()) << name;
    if (found != set.end()) out.ParseFromString(found->second.bytes);
    return out;
  }
  // The client's listeners but for virtualInbound and virtualOutbound.
  Lines outbound_listeners() {
    Lines out;
    for (auto& [name, resource] : resources(Type::kListener, "client"))
      if (!name.starts_with("virtual")) out.push_back(name);
    return out;
  }
  Lines chains(const std::string& listener) {
    Lines out;
    auto found = get<Listener>(Type::kListener, listener);
    for (auto& chain : found.filter_chains()) out.push_back(describe(chain));
    if (found.has_default_filter_chain()) out.push_back("else " + describe(found.default_filter_chain()));
    return out;
  }
  std::string inspectors(const std::string& listener, const std::string& pod = "client") {
    return inspectors_of(get<Listener>(Type::kListener, listener, pod));
  }
  Lines inbound_chains(uint32_t port) {
    Lines out;
    auto listener = get<Listener>(Type::kListener, "virtualInbound", "server");
    for (auto& chain : listener.filter_chains())
      if (chain.filter_chain_match().destination_port().value() == port) out.push_back(describe(chain));
    return out;
  }
  std::string upstream(const std::string& name, const std::string& pod = "client") {
    auto cluster = get<Cluster>(Type::kCluster, name, pod);
    if (cluster.typed_extension_protocol_options().empty()) return "plain";
    HttpOptions options;
    EXPECT_TRUE(cluster.typed_extension_protocol_options().begin()->second.UnpackTo(&options));
    if (options.has_use_downstream_protocol_config()) return "as downstream";
    return options.explicit_http_config().has_http2_protocol_options() ? "h2" : "h1";
  }

  ParsedFile parsed;
  std::shared_ptr<const MeshState> state;
};

inline constexpr char kRaw[] = "raw_buffer,http/1.1,h2c";

}  // namespace pinnace::translator::shapes
