// istio.stats for TCP: a connection is counted when its peer is known and when it ends, its bytes every
// tcp_reporting_duration between.
#pragma once

#include <optional>

#include "filters/istio_stats/series.h"
#include "proxy/filter/network_filter.h"

namespace pinnace::filters::istio_stats {

class TcpStatsConfig final : public filter::TcpObserverConfig {
 public:
  explicit TcpStatsConfig(SettingsPtr settings) : settings_(std::move(settings)) {}
  std::unique_ptr<filter::TcpObserver> observe(const filter::TcpStream& stream) const override;

 private:
  SettingsPtr settings_;
};

class TcpStats final : public filter::TcpObserver {
 public:
  TcpStats(const filter::TcpStream& stream, SettingsPtr settings);
  void on_end() override { report(true); }

 private:
  void report(bool over);
  void describe(SeriesTable::Key& key) const;

  const filter::TcpStream& stream_;
  SettingsPtr settings_;
  base::Timer timer_;
  std::optional<Series> series_;  // once the peer is known
  uint64_t sent_ = 0, received_ = 0;
};

}  // namespace pinnace::filters::istio_stats
