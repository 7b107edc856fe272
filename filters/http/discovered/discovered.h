// The filter that stands where ECDS says what filter is there: each stream gets what has come by then, and keeps it.
// Until something has come it is default_config; without one, requests are answered with 500 (ENVOY).
#pragma once

#include "proxy/filter/extension_table.h"
#include "proxy/filter/http_filter.h"

namespace pinnace::filters::discovered {

class DiscoveredConfig final : public filter::HttpFilterConfig {
 public:
  // `otherwise`: default_config, nullptr where there is none.
  DiscoveredConfig(uint32_t id, std::shared_ptr<const filter::HttpFilterConfig> otherwise)
      : id_(id), otherwise_(std::move(otherwise)) {}
  filter::HttpFilter* create(filter::HttpStream& stream) const override;

 private:
  uint32_t id_;
  std::shared_ptr<const filter::HttpFilterConfig> otherwise_;
};

// A configuration that does nothing, where compiling one came to that.
std::shared_ptr<const filter::HttpFilterConfig> nothing();

}  // namespace pinnace::filters::discovered
