#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>

#include "envoy/config/cluster/v3/cluster.pb.h"
#include "envoy/config/endpoint/v3/endpoint.pb.h"
#include "envoy/config/listener/v3/listener.pb.h"
#include "envoy/config/route/v3/route.pb.h"
#include "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.pb.h"
#include "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.pb.h"
#include "envoy/service/discovery/v3/discovery.pb.h"
#include "google/protobuf/text_format.h"
#include "translator/captured_test_support.h"
#include "translator/fetch/parse.h"
#include "translator/translate/proto.h"

namespace pinnace::translator::captured {
namespace {

using envoy::config::cluster::v3::Cluster;
using envoy::config::listener::v3::FilterChain;
using envoy::config::listener::v3::Listener;
using envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
using Hcm = envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;

template <class Filters>
void strip_own(Filters* filters) {
  for (int i = filters->size() - 1; i >= 0; i--)
    if (filters->Get(i).name().starts_with("istio.")) filters->DeleteSubrange(i, 1);
}

void strip_chain(FilterChain* chain, bool refused_too) {
  strip_own(chain->mutable_filters());
  for (auto& filter : *chain->mutable_filters()) {
    TcpProxy tcp;
    if (refused_too && filter.typed_config().UnpackTo(&tcp)) {
      tcp.clear_hash_policy();
      pack(tcp, filter.mutable_typed_config());
    }
    Hcm hcm;
    if (!filter.typed_config().UnpackTo(&hcm)) continue;
    strip_own(hcm.mutable_http_filters());
    hcm.clear_tracing();
    pack(hcm, filter.mutable_typed_config());
  }
}

// Text rather than JSON: it sorts maps.
std::string print(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::TextFormat::Printer printer;
  printer.SetExpandAny(true);
  EXPECT_TRUE(printer.PrintToString(message, &text));
  return text;
}

template <class Message>
Message parse(const std::string& bytes) {
  Message out;
  EXPECT_TRUE(out.ParseFromString(bytes));
  return out;
}

}  // namespace

std::string folder() {
  auto* given = std::getenv("PINNACE_SHARED");
  auto path = std::string(given ? given : PINNACE_SOURCE_DIR "/../shared") + "/istiod";
  return std::filesystem::is_directory(path) ? path : "";
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::shared_ptr<const MeshState> load_mesh(const std::string& scenario,
                                           const std::function<std::string(std::string)>& transform) {
  auto cluster = parse_file(read_file(folder() + "/cluster.yaml"), "cluster.yaml");
  auto text = read_file(folder() + "/" + scenario + "/istio.yaml");
  auto istio = parse_file(transform ? transform(text) : text, "istio.yaml");
  for (auto* file : {&cluster, &istio})
    for (auto& problem : file->problems) ADD_FAILURE() << problem.line << ": " << problem.reason;
  auto config = parse_mesh_config(read_file(folder() + "/mesh-config.yaml"), "mesh-config.yaml");
  EXPECT_TRUE(config.has_value());
  std::vector<const Object*> objects;
  for (auto* file : {&cluster, &istio})
    for (auto& object : file->objects) objects.push_back(&object);
  return MeshState::build(objects, *config);
}

const Pod* pod_of(const MeshState& state, const std::string& capture) {
  for (auto& pod : state.pods())
    if (pod.meta.name == capture || pod.meta.name == capture + "-0") return &pod;
  return nullptr;
}

std::map<std::string, std::string> load_capture(const std::string& scenario, const std::string& capture, Type type) {
  auto path =
      folder() + "/" + scenario + "/" + capture + "/" + std::string(kTypeNames[static_cast<size_t>(type)]) + ".pb";
  std::map<std::string, std::string> out;
  auto response = parse<envoy::service::discovery::v3::DiscoveryResponse>(read_file(path));
  for (auto& any : response.resources()) {
    std::string name;
    if (type == Type::kCluster) name = parse<Cluster>(any.value()).name();
    if (type == Type::kEndpoint)
      name = parse<envoy::config::endpoint::v3::ClusterLoadAssignment>(any.value()).cluster_name();
    if (type == Type::kListener) name = parse<Listener>(any.value()).name();
    if (type == Type::kRoute) name = parse<envoy::config::route::v3::RouteConfiguration>(any.value()).name();
    out[name] = any.value();
  }
  return out;
}

std::string without_refused(const std::string& yaml) {
  static const std::set<std::string> kRefused = {"outlierDetection", "consistentHash", "uriRegexRewrite", "mirror",
                                                 "mirrorPercentage", "fault",          "corsPolicy"};
  std::function<void(YAML::Node)> clean = [&](YAML::Node node) {
    if (node.IsSequence())
      for (auto one : node) clean(one);
    if (!node.IsMap()) return;
    for (auto& name : kRefused) node.remove(name);
    for (auto entry : node) clean(entry.second);
  };
  std::string out;
  for (auto document : YAML::LoadAll(yaml)) {
    clean(document);
    out += "---\n" + YAML::Dump(document) + "\n";
  }
  return out;
}

std::string normal_form(Type type, const std::string& bytes, bool refused_too) {
  switch (type) {
    case Type::kCluster: {
      auto cluster = parse<Cluster>(bytes);
      strip_own(cluster.mutable_filters());
      if (refused_too) {
        cluster.clear_outlier_detection();
        cluster.clear_ring_hash_lb_config();
        cluster.clear_maglev_lb_config();
        if (cluster.lb_policy() == Cluster::RING_HASH || cluster.lb_policy() == Cluster::MAGLEV)
          cluster.set_lb_policy(Cluster::LEAST_REQUEST);
      }
      return print(cluster);
    }
    case Type::kListener: {
      auto listener = parse<Listener>(bytes);
      for (auto& chain : *listener.mutable_filter_chains()) strip_chain(&chain, refused_too);
      if (listener.has_default_filter_chain()) strip_chain(listener.mutable_default_filter_chain(), refused_too);
      return print(listener);
    }
    case Type::kEndpoint: return print(parse<envoy::config::endpoint::v3::ClusterLoadAssignment>(bytes));
    case Type::kRoute: {
      auto routes = parse<envoy::config::route::v3::RouteConfiguration>(bytes);
      if (!refused_too) return print(routes);
      for (auto& host : *routes.mutable_virtual_hosts())
        for (auto& route : *host.mutable_routes()) {
          route.clear_typed_per_filter_config();
          if (!route.has_route()) continue;
          route.mutable_route()->clear_hash_policy();
          route.mutable_route()->clear_request_mirror_policies();
          route.mutable_route()->clear_regex_rewrite();
          route.mutable_route()->mutable_retry_policy()->clear_retry_host_predicate();  // not used with a hash
        }
      return print(routes);
    }
    default: return "";
  }
}

}  // namespace pinnace::translator::captured
