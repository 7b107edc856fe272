// translate(): everything one proxy gets, by xDS type and name, as the bytes that go into the push. Equal bytes mean
// that nothing changed; `version` is a hash of them. Pure and deterministic. THREAD: any.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "translator/translate/proxy_facts.h"

namespace pinnace::translator {

// In push order.
enum class Type { kCluster, kEndpoint, kListener, kRoute, kSecret };
inline constexpr size_t kTypes = 5;
inline constexpr std::array<std::string_view, kTypes> kTypeUrls = {
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.config.listener.v3.Listener",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
};
inline constexpr std::array<std::string_view, kTypes> kTypeNames = {"cds", "eds", "lds", "rds", "sds"};

struct Resource {
  std::string bytes;    // of the message itself, without its Any
  std::string version;  // hash of bytes, hexadecimal
};
using Resources = std::map<std::string, Resource, std::less<>>;
using ResourceSet = std::array<Resources, kTypes>;

std::shared_ptr<const ResourceSet> translate(const MeshState& state, const ProxyFacts& proxy);

Resource make_resource(std::string bytes);

}  // namespace pinnace::translator
