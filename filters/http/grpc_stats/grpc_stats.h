// envoy.filters.http.grpc_stats: counts the calls and messages of gRPC clients for the cluster their request goes to,
// see upstream::GrpcStats. A request that is not gRPC's costs the look at its content-type. UNLIKE ENVOY: Connect's
// streaming protocol is not counted.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "proxy/filter/http_filter.h"
#include "proxy/http/grpc.h"

namespace pinnace::filters::grpc_stats {

struct GrpcStatsSettings {
  bool all_methods = false;                               // stats_for_all_methods
  std::optional<std::set<std::string, std::less<>>> few;  // individual_method_stats_allowlist, as scopes
  bool replace_dots = false;                              // replace_dots_in_grpc_service_name
  bool upstream_time = false;                             // enable_upstream_stats
};

class GrpcStatsConfig final : public filter::HttpFilterConfig {
 public:
  explicit GrpcStatsConfig(GrpcStatsSettings settings) : settings_(std::move(settings)) {}
  filter::HttpFilter* create(filter::HttpStream& stream) const override;

 private:
  GrpcStatsSettings settings_;
};

class GrpcStats final : public filter::HttpFilter {
 public:
  GrpcStats(filter::HttpStream& stream, const GrpcStatsSettings& settings) : stream_(stream), settings_(settings) {}

  filter::Next on_request(bool end_stream) override;
  void on_request_data(http::Bytes& data, bool end_stream) override;
  void on_request_trailers(http::HeaderMap& trailers) override;
  filter::Next on_response_head(http::ResponseHead& head, bool end_stream) override;
  filter::Next on_response_data(http::Bytes& data, bool end_stream) override;
  void on_response_trailers(http::HeaderMap& trailers, filter::Tail& tail) override;

 private:
  // nullptr: the request is no gRPC call, or its cluster is not known.
  upstream::Cluster* cluster() const;
  stats::Cells& cells() { return stream_.worker().loop.cells(); }
  void request_ended() { request_end_ns_ = stream_.worker().loop.now_ns(); }
  void answered(const http::HeaderMap& fields, bool end_stream);

  filter::HttpStream& stream_;
  const GrpcStatsSettings& settings_;
  std::string_view scope_;  // empty: no gRPC call
  http::GrpcFrames sent_, received_;
  uint64_t request_end_ns_ = 0;
  bool grpc_answer_ = false;
};

// What a call's counters are named with, in the arena: "grpc.<service>.<method>.".
std::string_view method_scope(std::string_view protocol, const http::GrpcMethod& method, bool replace_dots,
                              base::Arena& arena);

}  // namespace pinnace::filters::grpc_stats
