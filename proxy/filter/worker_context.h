// WorkerContext: what a worker offers to the sessions it runs. One per worker, lives as long as it.
#pragma once

#include <vector>

#include "proxy/access_log/logger.h"
#include "proxy/base/event_loop.h"
#include "proxy/base/local_ref.h"
#include "proxy/filter/extension_table.h"
#include "proxy/model/route.h"
#include "proxy/upstream/cluster.h"
#include "tls/context.h"

namespace pinnace::filter {

using RouteConfigRef = base::LocalRef<model::RouteConfig>;

// A worker's route configurations by id (RDS).
class RouteTable {
 public:
  // An empty reference: no configuration of that name has come.
  RouteConfigRef find(uint32_t id) const { return id < configs_.size() ? configs_[id] : RouteConfigRef(); }
  void set(uint32_t id, model::RouteConfigPtr config) {
    if (id >= configs_.size()) configs_.resize(id + 1);
    configs_[id] = RouteConfigRef(std::move(config));
  }

 private:
  std::vector<RouteConfigRef> configs_;
};

struct WorkerContext {
  base::EventLoop& loop;
  upstream::ClusterTable& clusters;
  RouteTable& routes;
  ExtensionTable& extensions;
  tls::ContextTable& tls;
  access_log::Outputs& logs;
};

}  // namespace pinnace::filter
