// What compilation needs and where it leaves what it finds: names to numbers, stats, log sinks, TLS contexts.
// THREAD: the compile thread, one compilation at a time.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "envoy/config/core/v3/base.pb.h"
#include "proxy/access_log/sink.h"
#include "proxy/model/cluster.h"
#include "proxy/model/ids.h"
#include "proxy/model/listener.h"
#include "proxy/model/route.h"
#include "proxy/model/tls.h"
#include "proxy/stats/store.h"
#include "xds_client/compile/runtime.h"

namespace pinnace::compile {

// The TLS contexts that compiled resources refer to. Equal specifications share a context. THREAD: any.
class TlsRegistry {
 public:
  // ERRORS: what is inline in it makes no context.
  Result<uint32_t> intern(const model::TlsContextSpec& spec);
  const model::TlsContextSpec& spec(uint32_t id) const {
    std::lock_guard lock(mutex_);
    return *specs_[id];
  }
  uint32_t size() const {
    std::lock_guard lock(mutex_);
    return static_cast<uint32_t>(specs_.size());
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<model::TlsContextSpec>> specs_;
};

struct Context {
  model::Ids& ids;
  stats::Store& stats;
  access_log::SinkThread& sinks;
  TlsRegistry& tls;
  Runtime& runtime;
  // Of the connection manager whose filters are being compiled: their stats are named with it.
  std::string stat_prefix = {};
  // Of the listener whose filters are being compiled.
  model::TrafficDirection direction = model::TrafficDirection::kUnspecified;
  // The clusters there are, for validate_clusters.
  std::shared_ptr<const std::set<std::string>> clusters = nullptr;
  // By which this machine is known, for clients that are on it: x-forwarded-for.
  std::string local_ip = {};
  // This proxy, as it tells istiod.
  envoy::config::core::v3::Node node = {};
};

// ERRORS: names the first field of `message` that is set and not in `known`: what pinnace does not do it refuses.
Result<bool> only_fields(const google::protobuf::Message& message, std::initializer_list<const char*> known);

// A hash of everything in `message`; equal messages hash equally in one process.
uint64_t content_hash(const google::protobuf::Message& message);

// "a.b" + error → "a.b.c: reason".
inline Error in(const std::string& place, Error error) { return std::move(error).at(place); }

}  // namespace pinnace::compile
