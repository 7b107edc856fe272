#include "proxy/upstream/grpc_stats.h"

#include <charconv>

namespace pinnace::upstream {

void GrpcStats::answered(stats::Cells& cells, std::string_view scope, std::string_view status) {
  if (status.empty()) return;
  uint32_t code = 0;
  auto [end, failed] = std::from_chars(status.data(), status.data() + status.size(), code);
  // UNLIKE ENVOY: what is no number has no counter of its own, for the upstream chooses it.
  bool number = failed == std::errc() && end == status.data() + status.size() && status.size() <= 3;
  if (number && code < kSuccess && (status[0] != '0' || status.size() == 1)) {
    add(cells, scope, static_cast<uint8_t>(code));
  } else if (number) {
    cells.add(store_->counter(prefix_ + find(scope).first + std::string(status)));
  }
  add(cells, scope, status == "0" ? kSuccess : kFailure);
  add(cells, scope, kTotal);
}

void GrpcStats::request_messages(stats::Cells& cells, std::string_view scope, uint32_t count) {
  add(cells, scope, kRequestMessages, count);
}

void GrpcStats::response_messages(stats::Cells& cells, std::string_view scope, uint32_t count) {
  add(cells, scope, kResponseMessages, count);
}

void GrpcStats::took(stats::Cells& cells, std::string_view scope, uint64_t ms) {
  cells.record(stats::Histogram{cell(scope, kTime)}, ms);
}

void GrpcStats::add(stats::Cells& cells, std::string_view scope, uint8_t leaf, uint32_t count) {
  cells.add(stats::Counter{cell(scope, leaf)}, count);
}

uint32_t GrpcStats::cell(std::string_view scope, uint8_t leaf) {
  static constexpr const char* kNames[] = {
      "success", "failure", "total", "request_message_count", "response_message_count", "upstream_rq_time"};
  auto& [name, made] = find(scope);
  uint32_t& at = made.cells[leaf];
  if (at != kUnmade) return at;
  std::string full = prefix_ + name + (leaf < kSuccess ? std::to_string(leaf) : kNames[leaf - kSuccess]);
  at = leaf == kTime ? store_->histogram(full).cell : store_->counter(full).cell;
  return at;
}

GrpcStats::Scopes::value_type& GrpcStats::find(std::string_view scope) {
  if (last_ && last_->first == scope) return *last_;
  auto found = scopes_.find(scope);
  if (found == scopes_.end()) {
    if (scopes_.size() >= kMostMethods) scope = scope.substr(0, scope.find('.') + 1);
    found = scopes_.try_emplace(std::string(scope)).first;
  }
  last_ = &*found;
  return *last_;
}

}  // namespace pinnace::upstream
