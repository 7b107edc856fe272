// Series: the metrics of one combination of labels, and a worker's table of those it has met, so that a request costs a
// look-up. What peers say of themselves and clients ask for become labels, so combinations are bounded: beyond
// kMostSeries of the process a new one is counted without them. THREAD: the worker's; the first sight of a combination
// takes the store's mutex.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "filters/cel/expression.h"
#include "filters/istio/peers.h"
#include "filters/istio_stats/labels.h"
#include "proxy/base/local_ref.h"
#include "proxy/model/cluster.h"

namespace pinnace::filters::istio_stats {

enum class Metric : uint8_t {
  kRequestsTotal,
  kRequestDuration,
  kRequestBytes,
  kResponseBytes,
  kRequestMessages,
  kResponseMessages,
  kTcpOpened,
  kTcpClosed,
  kTcpSent,
  kTcpReceived,
  kCount
};
inline constexpr size_t kMetrics = static_cast<size_t>(Metric::kCount);
// Without "istio_"; as configuration names them.
const char* metric_name(Metric metric);

// stats.PluginConfig compiled. Immutable. LIFETIME: the store outlives it.
struct Settings {
  stats::Store* store = nullptr;
  Reporter reporter = Reporter::kSource;
  bool host_fallback = true;        // !disable_host_header_fallback
  uint64_t report_every_ms = 5000;  // tcp_reporting_duration
  istio::Workload local;
  struct Override {
    bool drop = false;
    // Standard labels: tags_to_remove (nothing), dimensions (an expression).
    std::map<std::string, std::optional<size_t>, std::less<>> changed;
    std::vector<std::pair<std::string, size_t>> added;  // dimensions: label, expression
  };
  std::array<Override, kMetrics> overrides;
  std::vector<cel::Expression> expressions;
};
using SettingsPtr = std::shared_ptr<const Settings>;

// What the expressions come to, as label text: "unknown" where they fail.
std::vector<std::string> evaluate(const Settings& settings, const cel::Facts& facts);

// Handles of one combination; those it does not use stay unmade.
struct Series {
  stats::Counter counters[kMetrics];  // cell 0 for histograms, and for what is dropped
  stats::Histogram histograms[kMetrics];
  // What its key points to.
  SettingsPtr settings;
  istio::PeerPtr peer, upstream;
  model::ClusterPtr cluster;
};

class SeriesTable {
 public:
  static constexpr size_t kMostHere = 4096;             // of a worker: the table starts afresh
  static constexpr size_t kMostText = 4 * 1024 * 1024;  // of the process: bytes of the labels of all of them
  static constexpr size_t kMostRest = 500;              // beyond them, told apart by how they ended
  static constexpr size_t kMostSeries = 4000;           // of the process: some 7 KiB each

  // The thread's own.
  static SeriesTable& here();

  // What tells combinations apart, besides the settings. All it points to need live only during the call.
  struct Key {
    const istio::PeerPtr* peer = nullptr;
    const istio::PeerPtr* upstream = nullptr;
    const model::ClusterPtr* cluster = nullptr;  // whose service it is, with the facts
    istio::PeerPtr own_peer = {};                // what `peer` and `cluster` may point to
    model::ClusterPtr own_cluster = {};
    Facts facts;                           // with peer and upstream, as the pointers above
    const Outcome* outcome = nullptr;      // nullptr: only of the peers, for what is counted before the end
    std::vector<std::string> values = {};  // of Settings::expressions

    void set_peer(const istio::PeerPtr& to) {
      peer = &to;
      facts.peer = to.get();
    }
  };
  Series& find(const SettingsPtr& settings, const Key& key);

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  static void fill(const Settings& settings, const Key& key, Series& series);
  static bool admit(const Tags& tags);
  static Tags rest_of(const Settings& settings, const Key& key, bool with_outcome);

  using Known = std::unordered_map<std::string, Series, Hash, std::equal_to<>>;
  Known known_;
  Known::value_type* last_ = nullptr;  // found: most requests of a moment are alike, and comparing is less than hashing
  std::string scratch_;
};

}  // namespace pinnace::filters::istio_stats
