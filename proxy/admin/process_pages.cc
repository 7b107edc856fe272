// /memory, /runtime, /reset_counters: what the process is made of.
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "proxy/admin/admin.h"

namespace pinnace::admin {
namespace {

uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

std::string text_of(const google::protobuf::Value& value) {
  using Kind = google::protobuf::Value::KindCase;
  switch (value.kind_case()) {
    case Kind::kStringValue: return value.string_value();
    case Kind::kBoolValue: return value.bool_value() ? "true" : "false";
    case Kind::kNumberValue: return fmt::format("{}", value.number_value());
    case Kind::kStructValue: return to_json(value.struct_value(), false);
    default: return "";
  }
}

}  // namespace

// Envoy's names for what its allocator says; glibc's has no page heap.
Reply memory_page() {
  auto heap = mallinfo2();
  return {200,
          fmt::format("{{\n \"allocated\": \"{}\",\n \"heap_size\": \"{}\",\n \"pageheap_unmapped\": \"0\",\n"
                      " \"pageheap_free\": \"{}\",\n \"total_thread_cache\": \"0\",\n"
                      " \"total_physical_bytes\": \"{}\"\n}}\n",
                      heap.uordblks + heap.hblkhd, heap.arena + heap.hblkhd, heap.fordblks, resident_bytes()),
          "application/json"};
}

Reply runtime_page(Host& host) {
  auto layers = host.configuration().runtime().layers();
  std::set<std::string> keys;
  std::string names, entries;
  for (const auto& layer : layers) {
    names += (names.empty() ? "" : ",") + json_string(layer.name);
    for (const auto& [key, value] : layer.values) keys.insert(key);
  }
  for (const auto& key : keys) {
    std::string last, values;
    for (const auto& layer : layers) {
      auto found = layer.values.find(key);
      std::string text = found == layer.values.end() ? "" : text_of(found->second);
      if (found != layer.values.end()) last = text;
      values += (values.empty() ? "" : ",") + json_string(text);
    }
    entries += (entries.empty() ? "" : ",") + fmt::format("{}:{{\"final_value\":{},\"layer_values\":[{}]}}",
                                                          json_string(key), json_string(last), values);
  }
  return {200, fmt::format("{{\"layers\":[{}],\"entries\":{{{}}}}}\n", names, entries), "application/json"};
}

Reply reset_page(Host& host) {
  host.stats().reset_counters();
  return {200, "OK\n"};
}

}  // namespace pinnace::admin
