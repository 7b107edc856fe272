// ExtensionPlace: a filter of a connection manager whose configuration comes by ECDS
// (envoy.config.core.v3.ExtensionConfigSource). Its configuration is compiled as if it stood there.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "proxy/model/config_source.h"
#include "proxy/model/listener.h"

namespace pinnace::model {

struct ExtensionPlace {
  uint32_t id = 0;  // Ids::extensions
  ResourceRef resource;
  std::set<std::string> types;  // type_urls: what it may be
  bool waits = true;            // the listener waits for it (else apply_default_config_without_warming)
  uint64_t fetch_timeout_ms = 0;
  // What filters there are compiled with.
  std::string stat_prefix;
  TrafficDirection direction = TrafficDirection::kUnspecified;
};

}  // namespace pinnace::model
