// Host: one endpoint of one cluster on one worker: its load and its connection pools. Survives endpoint updates that
// keep its address. THREAD: the worker's. LIFETIME: owned by its Cluster; connections and requests keep it by
// shared_ptr.
#pragma once

#include <memory>
#include <vector>

#include "proxy/model/cluster.h"

namespace pinnace::upstream {

class HttpPool;

struct Host {
  explicit Host(std::shared_ptr<const model::Endpoint> e);
  ~Host();

  std::shared_ptr<const model::Endpoint> endpoint;
  uint32_t active_requests = 0;  // this worker's, what LEAST_REQUEST compares
  uint32_t active_connections = 0;
  uint64_t total_requests = 0, success = 0, errors = 0, connect_failures = 0, total_connections = 0;
  uint64_t last_used_ms = 0;  // ORIGINAL_DST clean-up
  bool removed = false;
  std::vector<std::unique_ptr<HttpPool>> pools;  // one per transport and protocol in use: one or two
};

using HostPtr = std::shared_ptr<Host>;

}  // namespace pinnace::upstream
