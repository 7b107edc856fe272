// istio.stats for requests: when one is over it is counted, timed and measured under the labels of its two ends. The
// messages of gRPC calls count while they last.
#pragma once

#include "filters/istio_stats/series.h"
#include "proxy/filter/http_filter.h"
#include "proxy/http/grpc.h"

namespace pinnace::filters::istio_stats {

class HttpStatsConfig final : public filter::HttpFilterConfig {
 public:
  explicit HttpStatsConfig(SettingsPtr settings) : settings_(std::move(settings)) {}
  filter::HttpFilter* create(filter::HttpStream& stream) const override;

 private:
  SettingsPtr settings_;
};

class HttpStats final : public filter::HttpFilter {
 public:
  HttpStats(filter::HttpStream& stream, const SettingsPtr& settings);

  filter::Next on_request(bool end_stream) override;
  void on_request_data(http::Bytes& data, bool end_stream) override;
  filter::Next on_response_head(http::ResponseHead& head, bool end_stream) override;
  filter::Next on_response_data(http::Bytes& data, bool end_stream) override;
  void on_response_trailers(http::HeaderMap& trailers, filter::Tail& tail) override;
  void on_log() override;

 private:
  void describe(SeriesTable::Key& key) const;
  void name_service(SeriesTable::Key& key) const;
  std::vector<std::string> values() const;
  int grpc_status() const;
  // gRPC: counts the messages since the last time. `over`: nothing more will be learnt of the peer.
  void count_messages(bool over);
  stats::Cells& cells() const { return stream_.worker().loop.cells(); }

  filter::HttpStream& stream_;
  const SettingsPtr& settings_;
  bool grpc_ = false;
  std::string_view grpc_status_;
  http::ResponseHead* response_ = nullptr;
  uint64_t head_bytes_ = 0;  // of the response
  http::GrpcFrames sent_, received_;
  uint64_t request_messages_ = 0, response_messages_ = 0;
  base::Timer report_timer_;
};

}  // namespace pinnace::filters::istio_stats
