#include "proxy/upstream/response_stats.h"

namespace pinnace::upstream {

void ResponseStats::charge(stats::Cells& cells, uint16_t code, Scope scope) {
  for (stats::Counter counter : find(code, scope).counters) {
    if (counter.cell != 0) cells.add(counter);
  }
}

const ResponseStats::Entry& ResponseStats::find(uint16_t code, Scope scope) {
  for (const Entry& entry : seen_) {
    if (entry.code == code && entry.scope == scope) return entry;
  }
  Entry entry{code, scope, {}};
  size_t used = 0;
  auto family = [&](const std::string& prefix) {
    entry.counters[used++] = store_->counter(prefix + "upstream_rq_completed");
    entry.counters[used++] = store_->counter(prefix + "upstream_rq_" + std::to_string(code / 100) + "xx");
    entry.counters[used++] = store_->counter(prefix + "upstream_rq_" + std::to_string(code));
  };
  switch (scope) {
    case Scope::kExternal: family(prefix_), family(prefix_ + "external."); break;
    case Scope::kInternal: family(prefix_), family(prefix_ + "internal."); break;
    case Scope::kRetry: family(prefix_ + "retry."); break;
  }
  seen_.push_back(entry);
  return seen_.back();
}

}  // namespace pinnace::upstream
