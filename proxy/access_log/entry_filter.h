// EntryFilter: which entries an access log takes. envoy.config.accesslog.v3.AccessLogFilter. Immutable.
// THREAD: any worker.
#pragma once

#include "proxy/access_log/format.h"

namespace pinnace::access_log {

class EntryFilter {
 public:
  virtual ~EntryFilter() = default;
  virtual bool takes(const Entry& entry) const = 0;
};

}  // namespace pinnace::access_log
