// Update: one set of changes that workers take over together, between two turns of their loop, so that no request sees
// half of it. Made on the control thread; every worker gets the same object.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/model/cluster.h"
#include "proxy/model/listener.h"
#include "proxy/model/route.h"
#include "proxy/net/socket_set.h"

namespace pinnace::tls {
class Context;
}

namespace pinnace::filter {
class HttpFilterConfig;
}

namespace pinnace::model {

struct Update {
  struct TlsChange {
    uint32_t id;
    std::shared_ptr<const tls::Context> context;
  };
  struct EndpointChange {
    uint32_t cluster_id;
    EndpointsPtr endpoints;
  };
  struct RouteChange {
    uint32_t id;
    RouteConfigPtr config;  // nullptr: removed
  };
  struct ExtensionChange {
    uint32_t id;
    std::shared_ptr<const filter::HttpFilterConfig> config;  // nullptr: removed
  };
  struct ListenerChange {
    ListenerPtr listener;
    std::shared_ptr<net::SocketSet> sockets;  // nullptr: not bound (bind_to_port false)
  };

  // Applied in this order, so that what a piece needs is there before it.
  std::vector<TlsChange> tls;
  std::vector<ClusterPtr> clusters;
  std::vector<EndpointChange> endpoints;
  std::vector<RouteChange> routes;
  std::vector<ExtensionChange> extensions;
  std::vector<ListenerChange> listeners;
  std::vector<std::string> removed_listeners;
  std::vector<uint32_t> removed_clusters;

  bool empty() const {
    return tls.empty() && clusters.empty() && endpoints.empty() && routes.empty() && extensions.empty() &&
           listeners.empty() && removed_listeners.empty() && removed_clusters.empty();
  }
};

}  // namespace pinnace::model
