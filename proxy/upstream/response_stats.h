// ResponseStats: a cluster's counters by response code, as Envoy charges them: upstream_rq_completed, upstream_rq_2xx
// and upstream_rq_200, and the same under internal. or external.; what was retried counts under retry. alone. A code's
// counters are made when it is first seen. THREAD: the worker's; the first sight of a code takes the store's mutex.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "proxy/stats/store.h"

namespace pinnace::upstream {

class ResponseStats {
 public:
  enum class Scope : uint8_t { kExternal, kInternal, kRetry };

  // `prefix`: "cluster.<name>.". LIFETIME: the store outlives this.
  ResponseStats(stats::Store& store, std::string prefix) : store_(&store), prefix_(std::move(prefix)) {}
  void charge(stats::Cells& cells, uint16_t code, Scope scope);

 private:
  struct Entry {
    uint16_t code;
    Scope scope;
    std::array<stats::Counter, 6> counters;  // cell 0 where the scope has fewer
  };

  const Entry& find(uint16_t code, Scope scope);

  stats::Store* store_;
  std::string prefix_;
  std::vector<Entry> seen_;  // a handful; bounded by the three-digit codes
};

}  // namespace pinnace::upstream
