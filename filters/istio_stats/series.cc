#include "filters/istio_stats/series.h"

#include <atomic>

#include "proxy/base/log.h"
#include "proxy/base/utf8.h"

namespace pinnace::filters::istio_stats {
namespace {

struct Kind {
  const char* name;
  bool histogram;
  bool with_outcome;  // counted at the end, with how it went
};
constexpr Kind kKinds[kMetrics] = {
    {"requests_total", false, true},
    {"request_duration_milliseconds", true, true},
    {"request_bytes", true, true},
    {"response_bytes", true, true},
    {"request_messages_total", false, false},
    {"response_messages_total", false, false},
    {"tcp_connections_opened_total", false, true},
    {"tcp_connections_closed_total", false, true},
    {"tcp_sent_bytes_total", false, true},
    {"tcp_received_bytes_total", false, true},
};

bool is_tcp(size_t metric) { return metric >= static_cast<size_t>(Metric::kTcpOpened); }

std::atomic<size_t> made_series{0}, made_text{0}, made_rest{0};
std::atomic<bool> full{false};

void put_text(std::string& out, std::string_view text) {
  auto size = static_cast<uint32_t>(text.size());
  out.append(reinterpret_cast<const char*>(&size), sizeof size);
  out.append(text);
}

constexpr const char* kUnknown = "unknown";

Tags adapt(const Tags& tags, const Settings::Override& wish, const std::vector<std::string>& values) {
  auto value = [&](size_t at) { return at < values.size() ? values[at] : kUnknown; };
  Tags out;
  for (const auto& tag : tags) {
    auto changed = wish.changed.find(tag.name);
    if (changed == wish.changed.end()) out.push_back(tag);
    else if (changed->second) out.push_back({tag.name, value(*changed->second)});
  }
  for (const auto& [name, expression] : wish.added) out.push_back({name, value(expression)});
  // Peers choose them, and one label that is no text spoils a scrape as a whole.
  for (auto& tag : out) {
    if (!base::is_utf8(tag.value)) tag.value = base::to_utf8(tag.value);
  }
  return out;
}

}  // namespace

const char* metric_name(Metric metric) { return kKinds[static_cast<size_t>(metric)].name; }

std::vector<std::string> evaluate(const Settings& settings, const cel::Facts& facts) {
  std::vector<std::string> out;
  static thread_local cel::Expression::Scratch scratch;
  scratch.clear();
  out.reserve(settings.expressions.size());
  for (const auto& expression : settings.expressions) {
    cel::Value value = expression.evaluate(facts, scratch);
    out.push_back(value.failed() ? kUnknown : value.print().substr(0, istio::kMostText));
  }
  return out;
}

SeriesTable& SeriesTable::here() {
  static thread_local SeriesTable table;
  return table;
}

Series& SeriesTable::find(const SettingsPtr& settings, const Key& key) {
  const Facts& facts = key.facts;
  const Outcome outcome = key.outcome ? *key.outcome : Outcome();
  // Numbers, and how long the texts behind them are.
  const uint64_t numbers[] = {
      reinterpret_cast<uintptr_t>(settings.get()),
      reinterpret_cast<uintptr_t>(facts.peer),
      reinterpret_cast<uintptr_t>(facts.upstream),
      reinterpret_cast<uintptr_t>(key.cluster ? key.cluster->get() : nullptr),
      static_cast<uint64_t>(facts.security) << 1 | (key.outcome != nullptr),
      static_cast<uint64_t>(outcome.protocol) << 48 | static_cast<uint64_t>(outcome.code) << 32 |
          static_cast<uint32_t>(outcome.grpc_status),
      facts.peer_principal.size() << 32 | facts.local_principal.size(),
      facts.service_host.size() << 32 | facts.service_name.size(),
      outcome.flags.size(),
  };
  scratch_.assign(reinterpret_cast<const char*>(numbers), sizeof numbers);
  for (std::string_view text :
       {facts.peer_principal, facts.local_principal, facts.service_host, facts.service_name, outcome.flags}) {
    scratch_ += text;
  }
  for (const auto& value : key.values) put_text(scratch_, value);
  if (last_ && last_->first == scratch_) return last_->second;
  auto found = known_.find(scratch_);
  if (found == known_.end()) {
    if (known_.size() >= kMostHere) known_.clear();
    found = known_.emplace(scratch_, Series()).first;
    Series& series = found->second;
    series.settings = settings;
    if (key.peer) series.peer = *key.peer;
    if (key.upstream) series.upstream = *key.upstream;
    if (key.cluster) series.cluster = *key.cluster;
    fill(*settings, key, series);
  }
  last_ = &*found;
  return found->second;
}

// Beyond the bounds: without what others say.
Tags SeriesTable::rest_of(const Settings& settings, const Key& key, bool with_outcome) {
  Facts nobody;
  nobody.security = key.facts.security;
  Tags tags = peer_labels(settings.reporter, settings.local, nobody);
  if (!key.outcome) return tags;
  add_outcome(with_outcome ? *key.outcome : Outcome{.protocol = key.outcome->protocol}, key.facts.security, tags);
  return tags;
}

// Whether one more combination fits; counts it.
bool SeriesTable::admit(const Tags& tags) {
  size_t size = 0;
  for (const auto& tag : tags) size += tag.name.size() + tag.value.size();
  size_t before = made_series.fetch_add(1, std::memory_order_relaxed);
  size_t text = made_text.fetch_add(size, std::memory_order_relaxed);
  bool fits = before < kMostSeries && text < kMostText;
  if (!fits && !full.exchange(true)) {
    PN_LOG(kWarning, "stats",
           "istio.stats: {} combinations of labels; new ones are counted without what peers and clients say", before);
  }
  return fits;
}

void SeriesTable::fill(const Settings& settings, const Key& key, Series& series) {
  Tags tags = peer_labels(settings.reporter, settings.local, key.facts);
  if (key.outcome) add_outcome(*key.outcome, key.facts.security, tags);
  stats::Store& store = *settings.store;
  bool tcp = key.outcome && key.outcome->protocol == Protocol::kTcp;
  bool looked = false;
  const std::vector<std::string>* values = &key.values;
  static const std::vector<std::string> kNone;
  for (size_t i = 0; i < kMetrics; i++) {
    const auto& wish = settings.overrides[i];
    if (wish.drop || kKinds[i].with_outcome != (key.outcome != nullptr)) continue;
    if (key.outcome && is_tcp(i) != tcp) continue;
    std::string base = std::string("istiocustom.istio_") + kKinds[i].name;
    auto known = looked ? stats::Store::Known::kThere : store.known(base, adapt(tags, wish, *values));
    if (known == stats::Store::Known::kRejected) continue;
    looked = true;  // the others of this combination are made with it
    if (known == stats::Store::Known::kNew && !admit(adapt(tags, wish, *values))) {
      tags = rest_of(settings, key, true);
      values = &kNone;
      bool more = store.known(base, adapt(tags, wish, *values)) == stats::Store::Known::kNew;
      // Codes are the upstream's to choose.
      if (more && made_rest.fetch_add(1, std::memory_order_relaxed) >= kMostRest) tags = rest_of(settings, key, false);
    }
    if (kKinds[i].histogram) {
      series.histograms[i] = store.histogram(base, adapt(tags, wish, *values));
    } else {
      series.counters[i] = store.counter(base, adapt(tags, wish, *values));
    }
  }
}

}  // namespace pinnace::filters::istio_stats
