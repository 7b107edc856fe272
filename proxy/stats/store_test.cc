#include "proxy/stats/store.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pinnace::stats {
namespace {

Sample sample_of(const Store& store, std::string_view name) {
  Sample found;
  store.each([&](const Sample& sample) {
    if (sample.name == name) found = sample;
  });
  return found;
}

TEST(StoreTest, sums_what_every_thread_counted) {
  Store store;
  Cells& one = store.add_thread();
  Counter counter = store.counter("a.total");
  Cells& two = store.add_thread();
  one.add(counter);
  one.add(counter, 4);
  two.add(counter, 10);
  store.add_shared(counter, 100);
  EXPECT_EQ(store.value("a.total"), 115u);
  EXPECT_EQ(store.value("no.such"), 0u);
}

TEST(StoreTest, gives_the_same_cell_for_the_same_name) {
  Store store;
  EXPECT_EQ(store.counter("a").cell, store.counter("a").cell);
  EXPECT_NE(store.counter("a").cell, store.counter("b").cell);
  EXPECT_NE(store.counter("a").cell, 0u);
}

TEST(StoreTest, never_mixes_kinds_under_one_name) {
  Store store;
  Cells& cells = store.add_thread();
  Counter counter = store.counter("a");
  Histogram histogram = store.histogram("a");
  cells.add(counter, 3);
  cells.record(histogram, 77);
  EXPECT_EQ(store.value("a"), 3u);
}

TEST(StoreTest, adds_gauges_up_over_threads_even_when_one_goes_below_zero) {
  Store store;
  Cells &one = store.add_thread(), &two = store.add_thread();
  Gauge gauge = store.gauge("cx_active");
  one.inc(gauge);
  one.inc(gauge);
  two.dec(gauge);
  EXPECT_EQ(store.value("cx_active"), 1u);
  EXPECT_EQ(store.value(gauge), 1u);
  two.add(gauge, -1);
  EXPECT_EQ(store.value(gauge), 0u);
  store.set_shared(gauge, 50);
  store.set_shared(gauge, 20);
  EXPECT_EQ(store.value(gauge), 20u);
  store.add_shared(gauge, -5);
  EXPECT_EQ(store.value(gauge), 15u);
}

TEST(StoreTest, puts_histogram_values_into_envoys_buckets) {
  Store store;
  Cells& cells = store.add_thread();
  Histogram histogram = store.histogram("rq_time");
  for (uint64_t value : {0, 1, 2, 5, 6, 3600000, 3600001}) cells.record(histogram, value);
  Sample sample = sample_of(store, "rq_time");
  EXPECT_EQ(sample.kind, Kind::kHistogram);
  EXPECT_EQ(sample.count, 7u);
  EXPECT_EQ(sample.sum, 0u + 1 + 2 + 5 + 6 + 3600000 + 3600001);
  EXPECT_EQ(sample.buckets[0], 1u) << "0 ≤ 0.5";
  EXPECT_EQ(sample.buckets[1], 1u) << "1 ≤ 1";
  EXPECT_EQ(sample.buckets[2], 2u) << "2, 5 ≤ 5";
  EXPECT_EQ(sample.buckets[3], 1u) << "6 ≤ 10";
  EXPECT_EQ(sample.buckets[18], 1u) << "an hour";
  EXPECT_EQ(sample.buckets[19], 1u) << "more";
  EXPECT_TRUE(sample.used);
}

TEST(StoreTest, makes_rejected_stats_free_and_invisible) {
  Store store;
  store.configure({}, [](std::string_view name) { return name.substr(0, 4) == "keep"; });
  Cells& cells = store.add_thread();
  Counter rejected = store.counter("drop.total");
  Histogram histogram = store.histogram("drop.time");
  EXPECT_EQ(rejected.cell, 0u);
  cells.add(rejected, 5);
  cells.record(histogram, 5);
  cells.add(store.counter("keep.total"));
  std::vector<std::string> names;
  store.each([&](const Sample& sample) { names.emplace_back(sample.name); });
  EXPECT_EQ(names, std::vector<std::string>{"keep.total"});
  EXPECT_EQ(store.value("drop.total"), 0u);
  EXPECT_EQ(store.value("keep.total"), 1u);
}

TEST(StoreTest, visits_stats_in_order_of_name) {
  Store store;
  for (const char* name : {"c", "a", "b.x", "b"}) store.counter(name);
  std::string names;
  store.each([&](const Sample& sample) { names += std::string(sample.name) + " "; });
  EXPECT_EQ(names, "a b b.x c ");
}

TEST(StoreTest, takes_tags_out_of_names) {
  Store store;
  TagExtractor cluster{"cluster_name", [](std::string_view name, std::string_view& remove, std::string_view& value) {
                         if (name.substr(0, 8) != "cluster.") return false;
                         size_t end = name.find('.', 8);
                         value = name.substr(8, end - 8);
                         remove = name.substr(8, end - 8 + 1);
                         return true;
                       }};
  TagExtractor code{"code", [](std::string_view name, std::string_view& remove, std::string_view& value) {
                      if (name.size() < 4 || name[name.size() - 4] != '_') return false;
                      value = name.substr(name.size() - 3);
                      remove = name.substr(name.size() - 4);
                      return value.find_first_not_of("0123456789") == std::string_view::npos;
                    }};
  store.configure({cluster, code}, nullptr);
  store.counter("cluster.a|b.upstream_rq_200");
  store.counter("server.live");
  Sample sample = sample_of(store, "cluster.a|b.upstream_rq_200");
  EXPECT_EQ(sample.tag_name, "cluster.upstream_rq");
  ASSERT_EQ(sample.tags->size(), 2u);
  EXPECT_EQ((*sample.tags)[0].name, "cluster_name");
  EXPECT_EQ((*sample.tags)[0].value, "a|b");
  EXPECT_EQ((*sample.tags)[1].value, "200");
  EXPECT_EQ(sample_of(store, "server.live").tag_name, "server.live");
}

TEST(StoreTest, reads_computed_gauges_when_asked) {
  Store store;
  uint64_t value = 7;
  store.computed_gauge("server.uptime", [&] { return value; });
  EXPECT_EQ(store.value("server.uptime"), 7u);
  value = 8;
  EXPECT_EQ(sample_of(store, "server.uptime").value, 8u);
}

TEST(StoreTest, has_room_for_many_stats_on_threads_old_and_new) {
  Store store;
  Cells& old = store.add_thread();
  std::vector<Counter> counters;
  std::vector<Histogram> histograms;
  for (int i = 0; i < 5000; i++) {
    counters.push_back(store.counter("c" + std::to_string(i)));
    if (i % 10 == 0) histograms.push_back(store.histogram("h" + std::to_string(i)));
  }
  Cells& fresh = store.add_thread();
  for (size_t i = 0; i < counters.size(); i++) {
    old.add(counters[i], i);
    fresh.add(counters[i], 1);
  }
  for (auto histogram : histograms) fresh.record(histogram, 3600001);
  for (size_t i = 0; i < counters.size(); i++)
    ASSERT_EQ(store.value("c" + std::to_string(i)), i + 1) << "no cell is shared";
  EXPECT_EQ(sample_of(store, "h4990").sum, 3600001u);
}

}  // namespace
}  // namespace pinnace::stats
