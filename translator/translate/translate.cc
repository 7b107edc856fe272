#include "translator/translate/translate.h"

#include <fmt/format.h>

#include "translator/translate/clusters.h"
#include "translator/translate/endpoints.h"
#include "translator/translate/listeners.h"
#include "translator/translate/proto.h"
#include "translator/translate/routes.h"

namespace pinnace::translator {

Resource make_resource(std::string bytes) {
  uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a
  for (unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001b3ull;
  return {std::move(bytes), fmt::format("{:016x}", hash)};
}

std::shared_ptr<const ResourceSet> translate(const MeshState& state, const ProxyFacts& proxy) {
  auto out = std::make_shared<ResourceSet>();
  auto& set = *out;
  for (auto& one : translate_clusters(state, proxy))
    set[static_cast<size_t>(Type::kCluster)].emplace(one.name(), make_resource(serialize(one)));
  for (auto& one : translate_all_endpoints(state, proxy))
    set[static_cast<size_t>(Type::kEndpoint)].emplace(one.cluster_name(), make_resource(serialize(one)));
  for (auto& one : translate_listeners(state, proxy))
    set[static_cast<size_t>(Type::kListener)].emplace(one.name(), make_resource(serialize(one)));
  for (auto& one : translate_routes(state, proxy))
    set[static_cast<size_t>(Type::kRoute)].emplace(one.name(), make_resource(serialize(one)));
  return out;
}

}  // namespace pinnace::translator
