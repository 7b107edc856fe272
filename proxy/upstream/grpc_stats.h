// GrpcStats: a cluster's counters of gRPC calls as Envoy names them, under cluster.<name>.grpc. or, where methods are
// told apart, cluster.<name>.grpc.<service>.<method>.: the status, success, failure, total, request_message_count,
// response_message_count and the histogram upstream_rq_time. Each is made when it is first needed. Bounded: clients
// choose what methods are called, so beyond kMostMethods a method is counted without its name. THREAD: the worker's;
// the first sight of a counter takes the store's mutex.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>

#include "proxy/stats/store.h"

namespace pinnace::upstream {

class GrpcStats {
 public:
  static constexpr size_t kMostMethods = 1024;

  // `prefix`: "cluster.<name>.". LIFETIME: the store outlives this.
  GrpcStats(stats::Store& store, std::string prefix) : store_(&store), prefix_(std::move(prefix)) {}

  // `scope` of all: what stands between the prefix and the counter's name, with its dot: "grpc." or
  // "grpc.<service>.<method>.". `status`: grpc-status as it came.
  void answered(stats::Cells& cells, std::string_view scope, std::string_view status);
  void request_messages(stats::Cells& cells, std::string_view scope, uint32_t count);
  void response_messages(stats::Cells& cells, std::string_view scope, uint32_t count);
  void took(stats::Cells& cells, std::string_view scope, uint64_t ms);

 private:
  enum Leaf : uint8_t { kSuccess = 17, kFailure, kTotal, kRequestMessages, kResponseMessages, kTime, kLeaves };
  static constexpr uint32_t kUnmade = 0xffffffff;  // 0 is the cell of what the stats matcher rejects

  struct Scope {
    Scope() { cells.fill(kUnmade); }
    std::array<uint32_t, kLeaves> cells;  // the first 17: statuses
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  using Scopes = std::unordered_map<std::string, Scope, Hash, std::equal_to<>>;

  void add(stats::Cells& cells, std::string_view scope, uint8_t leaf, uint32_t count = 1);
  uint32_t cell(std::string_view scope, uint8_t leaf);
  Scopes::value_type& find(std::string_view scope);

  stats::Store* store_;
  std::string prefix_;
  Scopes scopes_;
  Scopes::value_type* last_ = nullptr;  // most clusters have one
};

}  // namespace pinnace::upstream
