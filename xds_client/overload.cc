#include "xds_client/overload.h"

#include <limits>

#include "envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections.pb.h"
#include "proxy/base/log.h"

namespace pinnace::xds {

uint64_t max_downstream_connections(const Bootstrap& bootstrap, const compile::Runtime& runtime) {
  using Connections = envoy::extensions::resource_monitors::downstream_connections::v3::DownstreamConnectionsConfig;
  uint64_t most = runtime.number("overload.global_downstream_max_connections").value_or(0);
  for (const auto& monitor : bootstrap.overload_manager().resource_monitors()) {
    Connections connections;
    if (monitor.typed_config().UnpackTo(&connections)) {
      most = static_cast<uint64_t>(connections.max_active_downstream_connections());
    } else {
      PN_LOG(kWarning, "main", "overload_manager.resource_monitors[{}]: not supported by pinnace, left out",
             monitor.name());
    }
  }
  // istiod's number for no limit; no process has as many descriptors.
  constexpr uint64_t kNoLimit = std::numeric_limits<int32_t>::max();
  return most < kNoLimit ? most : 0;
}

}  // namespace pinnace::xds
