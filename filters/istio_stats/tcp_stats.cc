#include "filters/istio_stats/tcp_stats.h"

#include "filters/network/metadata_exchange/exchange.h"

namespace pinnace::filters::istio_stats {
namespace {

std::string_view first(const std::vector<std::string>& sans) {
  return sans.empty() ? std::string_view() : std::string_view(sans.front()).substr(0, istio::kMostText);
}

const metadata_exchange::Exchange* exchange_of(const net::Connection* connection) {
  return connection ? dynamic_cast<const metadata_exchange::Exchange*>(connection->prologue()) : nullptr;
}

}  // namespace

std::unique_ptr<filter::TcpObserver> TcpStatsConfig::observe(const filter::TcpStream& stream) const {
  return std::make_unique<TcpStats>(stream, settings_);
}

TcpStats::TcpStats(const filter::TcpStream& stream, SettingsPtr settings)
    : stream_(stream), settings_(std::move(settings)) {
  timer_.init(
      stream.worker().loop.timers(),
      [](void* self) {
        auto& stats = *static_cast<TcpStats*>(self);
        stats.report(false);
        stats.timer_.arm(stats.settings_->report_every_ms);
      },
      this);
  if (settings_->report_every_ms > 0) timer_.arm(settings_->report_every_ms);
}

void TcpStats::describe(SeriesTable::Key& key) const {
  const http::StreamInfo& info = stream_.info();
  Facts& facts = key.facts;
  bool source = settings_->reporter == Reporter::kSource;
  const auto* exchange = exchange_of(source ? stream_.upstream() : &stream_.downstream());
  if (exchange) key.own_peer = exchange->peer();
  const net::TlsInfo* tls = source ? (stream_.upstream() ? stream_.upstream()->tls() : nullptr) : info.tls;
  if (tls) facts.peer_principal = first(tls->peer_uri_sans);
  if (tls) facts.local_principal = first(tls->local_uri_sans);
  if (source) {
    if (!key.own_peer) key.own_peer = istio::Peers::here({}).of_endpoint(info.upstream_workload);
  } else {
    bool mutual = !facts.peer_principal.empty() && !facts.local_principal.empty();
    facts.security = mutual ? Security::kMutualTls : Security::kNone;
  }
  key.set_peer(key.own_peer);
  key.own_cluster = stream_.cluster();
  const model::ClusterPtr& cluster = key.own_cluster;
  if (cluster && cluster->istio.service) {
    facts.service_host = cluster->istio.service->host;
    facts.service_name = cluster->istio.service->name;
    facts.service_namespace = cluster->istio.service->namespace_name;
  } else if (cluster && (cluster->name == "BlackHoleCluster" || cluster->name.ends_with("PassthroughCluster"))) {
    facts.service_name = cluster->name;
  }
  key.cluster = &cluster;
  if (!settings_->expressions.empty()) {
    cel::Facts known{info};
    (source ? known.upstream_peer : known.downstream_peer) = facts.peer;
    key.values = evaluate(*settings_, known);
  }
}

void TcpStats::report(bool over) {
  if (over) timer_.cancel();
  bool source = settings_->reporter == Reporter::kSource;
  const net::Connection* told = source ? stream_.upstream() : &stream_.downstream();
  const auto* exchange = exchange_of(told);
  stats::Cells& cells = stream_.worker().loop.cells();
  auto add = [&](Metric metric, uint64_t n) { cells.add(series_->counters[static_cast<size_t>(metric)], n); };
  bool known = told && told->handshake_done() && (!exchange || exchange->over());
  if (!series_ && !known && !over) return;
  Outcome outcome{.protocol = Protocol::kTcp, .flags = "-"};
  std::string flags;
  if (stream_.info().flags != 0) outcome.flags = flags = http::flags_text(stream_.info().flag_order);
  if (!series_) {
    SeriesTable::Key key;
    describe(key);
    key.outcome = &outcome;
    series_ = SeriesTable::here().find(settings_, key);
    add(Metric::kTcpOpened, 1);
  }
  uint64_t sent = stream_.info().bytes_sent, received = stream_.info().bytes_received;
  add(Metric::kTcpSent, sent - std::exchange(sent_, sent));
  add(Metric::kTcpReceived, received - std::exchange(received_, received));
  if (over) add(Metric::kTcpClosed, 1);
}

}  // namespace pinnace::filters::istio_stats
