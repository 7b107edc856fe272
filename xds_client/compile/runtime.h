// Runtime: the layered keys of envoy.config.bootstrap.v3.LayeredRuntime, later layers over earlier ones: static layers
// from the bootstrap, rtds layers from RTDS. What is compiled from a key is either read once (whoever is compiled later
// sees a new value) or a cell that follows the key. THREAD: any, but RTDS is one thread's; cells are read by workers.
#pragma once

#include <google/protobuf/struct.pb.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "envoy/config/bootstrap/v3/bootstrap.pb.h"
#include "envoy/type/v3/percent.pb.h"
#include "proxy/base/result.h"
#include "proxy/model/config_source.h"

namespace pinnace::compile {

// Parts of a million, for RuntimeFractionalPercent.
using FractionCell = std::shared_ptr<const std::atomic<uint32_t>>;

class Runtime {
 public:
  // ERRORS: an rtds layer's source is not supported.
  Result<bool> load(const envoy::config::bootstrap::v3::LayeredRuntime& proto);

  std::optional<std::string> text(const std::string& key) const;
  std::optional<uint64_t> number(const std::string& key) const;
  std::optional<bool> boolean(const std::string& key) const;
  // Follows `key`; `otherwise` while it has no value.
  FractionCell fraction(const std::string& key, const envoy::type::v3::FractionalPercent& otherwise);

  // RTDS.
  const std::set<model::ResourceRef>& wanted() const { return wanted_; }
  uint64_t fetch_timeout_ms() const { return fetch_timeout_ms_; }
  // Takes the layers of that name over. False: nobody asked for it.
  bool set_layer(const std::string& name, const google::protobuf::Struct& values);

  // Layers by name with their keys, for /runtime.
  struct Layer {
    std::string name;
    bool rtds = false;
    std::map<std::string, google::protobuf::Value> values;  // structs are flattened to a.b, but for fractions
  };
  std::vector<Layer> layers() const;

 private:
  struct Followed {
    std::shared_ptr<std::atomic<uint32_t>> cell;
    std::string key;
    uint32_t otherwise = 0;
  };

  const google::protobuf::Value* find(const std::string& key) const;
  uint32_t fraction_now(const std::string& key, uint32_t otherwise) const;

  mutable std::mutex mutex_;
  std::vector<Layer> layers_;
  std::vector<Followed> followed_;
  std::set<model::ResourceRef> wanted_;
  uint64_t fetch_timeout_ms_ = 0;  // of the layer that waits longest; 0: for ever
};

}  // namespace pinnace::compile
