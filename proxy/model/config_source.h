// Where a resource is asked for: over ADS, or over a stream of its own to a cluster. envoy.config.core.v3.ConfigSource.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace pinnace::model {

struct ConfigSource {
  std::string cluster;  // api_config_source: its envoy_grpc; empty: ads
  bool delta = false;   // api_config_source: DELTA_GRPC

  bool ads() const { return cluster.empty(); }
  // clang-tidy 14 takes the 0 that a defaulted comparison compares with for a pointer.
  friend auto operator<=>(const ConfigSource&, const ConfigSource&) = default;  // NOLINT(modernize-use-nullptr)
};

// A resource that something needs.
struct ResourceRef {
  ConfigSource source;
  std::string name;
  friend auto operator<=>(const ResourceRef&, const ResourceRef&) = default;  // NOLINT(modernize-use-nullptr)
};

// A resource's own name among those of all sources.
inline std::string full_name(const ResourceRef& ref) {
  return ref.source.ads() ? ref.name : ref.source.cluster + (ref.source.delta ? "/delta/" : "/") + ref.name;
}

// An RDS resource.
struct RouteRef {
  ResourceRef resource;
  uint64_t fetch_timeout_ms = 0;  // initial_fetch_timeout; 0: wait for ever
};

}  // namespace pinnace::model
