#include "filters/istio_stats/http_stats.h"

#include <charconv>
#include <utility>

namespace pinnace::filters::istio_stats {

using filter::Next;
using http::HeaderId;

namespace {

// UNLIKE ISTIO: heads are measured as HTTP/1 would write them, whatever the protocol made of them.
uint64_t wire_size(const http::HeaderMap& headers) {
  static constexpr uint64_t kPerField = sizeof(": \r\n") - 1;
  return headers.byte_size() + headers.size() * kPerField + 2;
}

uint64_t wire_size(const http::RequestHead& request) {
  return request.method.size() + request.path.size() + request.authority.size() + sizeof("  HTTP/1.1\r\nhost: \r\n") -
         1 + wire_size(request.headers);
}

uint64_t wire_size(const http::ResponseHead& head) {
  return sizeof("HTTP/1.1 200 OK\r\n") - 1 + wire_size(head.headers);
}

// What a client may choose ends where a name would.
std::string_view cut(std::string_view text) { return text.substr(0, istio::kMostText); }

bool is_passthrough(std::string_view cluster) {
  return cluster == "BlackHoleCluster" || cluster == "PassthroughCluster" || cluster == "InboundPassthroughCluster";
}

}  // namespace

filter::HttpFilter* HttpStatsConfig::create(filter::HttpStream& stream) const {
  return filter::make_in_arena<HttpStats>(stream.arena(), stream, settings_);
}

HttpStats::HttpStats(filter::HttpStream& stream, const SettingsPtr& settings) : stream_(stream), settings_(settings) {
  report_timer_.init(
      stream.worker().loop.timers(),
      [](void* self) {
        auto& stats = *static_cast<HttpStats*>(self);
        stats.count_messages(false);
        stats.report_timer_.arm(stats.settings_->report_every_ms);
      },
      this);
}

Next HttpStats::on_request(bool) {
  grpc_ = http::is_grpc_type(stream_.request().headers.get(HeaderId::kContentType));
  if (grpc_ && settings_->report_every_ms > 0) report_timer_.arm(settings_->report_every_ms);
  return Next::kContinue;
}

void HttpStats::on_request_data(http::Bytes& data, bool) {
  if (grpc_) request_messages_ += sent_.count(data);
}

Next HttpStats::on_response_head(http::ResponseHead& head, bool) {
  head_bytes_ = wire_size(head);
  response_ = &head;
  if (grpc_) grpc_status_ = head.headers.get(HeaderId::kGrpcStatus);
  return Next::kContinue;
}

Next HttpStats::on_response_data(http::Bytes& data, bool) {
  if (grpc_) response_messages_ += received_.count(data);
  return Next::kContinue;
}

void HttpStats::on_response_trailers(http::HeaderMap& trailers, filter::Tail&) {
  if (grpc_ && trailers.has(HeaderId::kGrpcStatus)) grpc_status_ = trailers.get(HeaderId::kGrpcStatus);
}

// ISTIO: a call that got no status has that of its HTTP code.
int HttpStats::grpc_status() const {
  if (!grpc_) return -1;
  if (grpc_status_.empty()) {
    uint16_t code = stream_.info().response_code;
    return code == 0 ? -1 : static_cast<int>(http::grpc_status_for(code));
  }
  int status = -1;
  auto [end, failed] = std::from_chars(grpc_status_.data(), grpc_status_.data() + grpc_status_.size(), status);
  bool known = failed == std::errc() && end == grpc_status_.data() + grpc_status_.size() && status >= 0 && status <= 16;
  return known ? status : 2;  // UNKNOWN: the peer chooses it, and it becomes a label
}

void HttpStats::describe(SeriesTable::Key& key) const {
  const http::StreamInfo& info = stream_.info();
  Facts& facts = key.facts;
  const auto* downstream = stream_.state().find<istio::DownstreamPeer>();
  const auto* upstream = stream_.state().find<istio::UpstreamPeer>();
  if (settings_->reporter == Reporter::kSource) {
    if (upstream && upstream->workload) {
      key.set_peer(upstream->workload);
    } else {
      key.own_peer = istio::Peers::here({}).of_endpoint(info.upstream_workload);
      key.set_peer(key.own_peer);
    }
    facts.peer_principal = cut(info.upstream_peer_principal);
    facts.local_principal = cut(info.upstream_local_principal);
    if (facts.peer_principal.empty() && facts.peer) facts.peer_principal = facts.peer->identity;
  } else {
    if (downstream) key.set_peer(downstream->workload);
    if (upstream) {
      key.upstream = &upstream->workload;
      facts.upstream = upstream->workload.get();
    }
    if (info.tls && !info.tls->peer_uri_sans.empty()) facts.peer_principal = cut(info.tls->peer_uri_sans.front());
    if (info.tls && !info.tls->local_uri_sans.empty()) facts.local_principal = cut(info.tls->local_uri_sans.front());
    bool mutual = !facts.peer_principal.empty() && !facts.local_principal.empty();
    facts.security = mutual ? Security::kMutualTls : Security::kNone;
  }
  name_service(key);
  if (!settings_->expressions.empty()) key.values = values();
}

std::vector<std::string> HttpStats::values() const {
  const auto* downstream = stream_.state().find<istio::DownstreamPeer>();
  const auto* upstream = stream_.state().find<istio::UpstreamPeer>();
  uint16_t code = stream_.info().response_code;
  // ENVOY: an expression sees the status that any response would have as gRPC's.
  int status = grpc_ || code == 0 ? grpc_status() : static_cast<int>(http::grpc_status_for(code));
  cel::Facts facts{stream_.info(), &stream_.request(), response_, status};
  if (downstream) facts.downstream_peer = downstream->workload.get();
  if (upstream) facts.upstream_peer = upstream->workload.get();
  return evaluate(*settings_, facts);
}

void HttpStats::name_service(SeriesTable::Key& key) const {
  const http::StreamInfo& info = stream_.info();
  Facts& facts = key.facts;
  if (settings_->host_fallback) facts.service_host = facts.service_name = cut(stream_.request().authority);
  if (info.route_name == "block_all") {
    facts.service_name = "BlackHoleCluster";
  } else if (info.route_name == "allow_any") {
    facts.service_name = "PassthroughCluster";
  } else if (is_passthrough(info.cluster_name)) {
    facts.service_name = info.cluster_name;
  } else if (const upstream::Cluster* cluster = stream_.worker().clusters.find(info.cluster_id)) {
    const model::ClusterPtr& config = cluster->config();
    if (!config->istio.service) return;
    key.cluster = &config;
    facts.service_host = config->istio.service->host;
    facts.service_name = config->istio.service->name;
    facts.service_namespace = config->istio.service->namespace_name;
  }
}

void HttpStats::count_messages(bool over) {
  bool source = settings_->reporter == Reporter::kSource;
  bool known = source ? stream_.state().find<istio::UpstreamPeer>() != nullptr
                      : stream_.state().find<istio::DownstreamPeer>() != nullptr;
  if (!known && !over) return;
  if (request_messages_ == 0 && response_messages_ == 0) return;
  SeriesTable::Key key;
  describe(key);
  Series& series = SeriesTable::here().find(settings_, key);
  cells().add(series.counters[static_cast<size_t>(Metric::kRequestMessages)], std::exchange(request_messages_, 0));
  cells().add(series.counters[static_cast<size_t>(Metric::kResponseMessages)], std::exchange(response_messages_, 0));
}

void HttpStats::on_log() {
  report_timer_.cancel();
  const http::StreamInfo& info = stream_.info();
  if (grpc_) count_messages(true);
  Outcome outcome;
  outcome.protocol = grpc_ ? Protocol::kGrpc : Protocol::kHttp;
  outcome.code = info.response_code;
  outcome.grpc_status = grpc_status();
  std::string flags;
  if (info.flags != 0) outcome.flags = flags = http::flags_text(info.flag_order);
  SeriesTable::Key key;
  describe(key);
  key.outcome = &outcome;
  Series& series = SeriesTable::here().find(settings_, key);
  auto record = [&](Metric metric, uint64_t value) {
    cells().record(series.histograms[static_cast<size_t>(metric)], value);
  };
  cells().add(series.counters[static_cast<size_t>(Metric::kRequestsTotal)]);
  record(Metric::kRequestDuration, (info.end_ns - info.start_ns) / 1000000);
  record(Metric::kRequestBytes, wire_size(stream_.request()) + info.bytes_received);
  record(Metric::kResponseBytes, head_bytes_ + info.bytes_sent);
}

}  // namespace pinnace::filters::istio_stats
