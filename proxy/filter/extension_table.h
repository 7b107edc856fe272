// ExtensionTable: a worker's filter configurations that come by ECDS, by the number of the place they are for.
// THREAD: the worker's.
#pragma once

#include <memory>
#include <vector>

#include "proxy/base/local_ref.h"

namespace pinnace::filter {

class HttpFilterConfig;

using ExtensionRef = base::LocalRef<HttpFilterConfig>;

class ExtensionTable {
 public:
  // An empty reference: none has come.
  ExtensionRef find(uint32_t id) const { return id < configs_.size() ? configs_[id] : ExtensionRef(); }
  void set(uint32_t id, std::shared_ptr<const HttpFilterConfig> config) {
    if (id >= configs_.size()) configs_.resize(id + 1);
    configs_[id] = ExtensionRef(std::move(config));
  }

 private:
  std::vector<ExtensionRef> configs_;
};

}  // namespace pinnace::filter
