// Small numbers that stand for names on the request path. A worker's tables are arrays indexed by them.
// LIFETIME: a number belongs to its name for the life of the process.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace pinnace::model {

inline constexpr uint32_t kNoId = 0xffffffff;

class IdTable {
 public:
  uint32_t id(std::string_view name) {
    std::lock_guard lock(mutex_);
    auto [at, fresh] = ids_.try_emplace(std::string(name), static_cast<uint32_t>(ids_.size()));
    return at->second;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, uint32_t> ids_;
};

// The name spaces of one process: clusters, route configurations, TLS contexts, services that take access logs,
// places of filters that come by ECDS.
struct Ids {
  IdTable clusters, routes, tls, log_services, extensions;
};

}  // namespace pinnace::model
