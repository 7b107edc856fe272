// Store: the names of all stats, where their cells are, and their tags. Names are made when configuration is compiled,
// or when something is met for the first time (a response code, a peer); the same name gives the same cells for the
// life of the process. THREAD: any (a mutex guards the names; cells are written without it).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/stats/cells.h"

namespace pinnace::stats {

enum class Kind : uint8_t { kCounter, kGauge, kHistogram };

struct Tag {
  std::string name, value;
};

// One stat as it is read.
struct Sample {
  std::string_view name;
  Kind kind;
  uint64_t value = 0;  // counter; gauges as int64
  std::array<uint64_t, kBucketBounds.size() + 1> buckets{};
  uint64_t count = 0, sum = 0;
  bool used = false;
  std::string_view tag_name;  // the name with its tags taken out
  const std::vector<Tag>* tags = nullptr;
};

// stats_config.stats_tags: takes tags out of names. stats_config.stats_matcher: decides which names exist.
struct TagExtractor {
  std::string tag_name;
  std::function<bool(std::string_view name, std::string_view& remove, std::string_view& value)> match;
};
using Inclusion = std::function<bool(std::string_view name)>;

class Store {
 public:
  Store();
  ~Store();

  // REQUIRES: before the first stat is made.
  void configure(std::vector<TagExtractor> extractors, Inclusion included);

  Counter counter(std::string_view name) { return {make(name, Kind::kCounter)}; }
  Gauge gauge(std::string_view name) { return {make(name, Kind::kGauge)}; }
  Histogram histogram(std::string_view name) { return {make(name, Kind::kHistogram)}; }
  // The same with tags that are known and not to be taken out of the name, which becomes name.tag.value.tag.value.
  using Tags = std::vector<Tag>;
  Counter counter(std::string_view name, const Tags& tags) { return {make_tagged(name, tags, Kind::kCounter)}; }
  Gauge gauge(std::string_view name, const Tags& tags) { return {make_tagged(name, tags, Kind::kGauge)}; }
  Histogram histogram(std::string_view name, const Tags& tags) { return {make_tagged(name, tags, Kind::kHistogram)}; }
  enum class Known : uint8_t { kThere, kNew, kRejected };
  Known known(std::string_view name, const Tags& tags) const;
  // A value that is computed when it is read, such as server.uptime.
  void computed_gauge(std::string_view name, std::function<uint64_t()> read);

  // The cells of one more writing thread. LIFETIME: the store's.
  Cells& add_thread();
  // Cells for the threads that share (control, compile): guarded by a mutex of their own.
  void add_shared(Counter counter, uint64_t n = 1);
  void add_shared(Gauge gauge, int64_t n);
  void set_shared(Gauge gauge, uint64_t value);

  // Visits every stat in order of name.
  void each(const std::function<void(const Sample&)>& visit) const;
  uint64_t value(std::string_view name) const;  // counters and gauges, 0 when there is no such name
  uint64_t value(Gauge gauge) const;
  // Counters read from 0 again; their cells go on.
  void reset_counters();

 private:
  struct Entry {
    Kind kind;
    uint32_t cell;
    std::function<uint64_t()> computed;
    std::string tag_name;
    std::vector<Tag> tags;
  };

  using Names = std::map<std::string, Entry, std::less<>>;

  uint32_t make(std::string_view name, Kind kind);
  uint32_t make_tagged(std::string_view name, const Tags& tags, Kind kind);
  uint32_t add_entry(std::string_view name, Entry entry);
  static std::string full_name(std::string_view name, const Tags& tags);
  void add_chunk();
  uint64_t sum(uint32_t cell) const;
  void extract_tags(std::string_view name, Entry& entry) const;

  mutable std::mutex mutex_;
  std::mutex shared_mutex_;
  Names names_;
  std::vector<std::unique_ptr<Cells>> threads_;
  Cells* shared_;
  uint32_t next_cell_ = 1;
  uint32_t chunks_ = 0;
  std::vector<TagExtractor> extractors_;
  Inclusion included_;
  std::map<uint32_t, uint64_t> counted_before_;  // cell → what a reset took off
};

}  // namespace pinnace::stats
