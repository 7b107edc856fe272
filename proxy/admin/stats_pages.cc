// /stats and /stats/prometheus.
#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>

#include "proxy/admin/admin.h"

namespace pinnace::admin {
namespace {

constexpr double kQuantiles[] = {0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100};

// A quantile by straight-line interpolation within its bucket.
double quantile(const stats::Sample& sample, double percent) {
  double rank = percent / 100.0 * static_cast<double>(sample.count);
  double seen = 0;
  for (size_t i = 0; i < sample.buckets.size(); i++) {
    auto here = static_cast<double>(sample.buckets[i]);
    if (here == 0) continue;
    if (seen + here >= rank) {
      double low = i == 0 ? 0 : stats::kBucketBounds[i - 1];
      double high = i < stats::kBucketBounds.size() ? stats::kBucketBounds[i] : stats::kBucketBounds.back() * 2;
      return low + (high - low) * std::clamp((rank - seen) / here, 0.0, 1.0);
    }
    seen += here;
  }
  return 0;
}

struct Filter {
  bool used_only = false;
  std::shared_ptr<RE2> pattern;
  bool takes(const stats::Sample& sample) const {
    if (used_only && !sample.used) return false;
    return !pattern || RE2::PartialMatch(re2::StringPiece(sample.name.data(), sample.name.size()), *pattern);
  }
};

bool make_filter(const Query& query, Filter& filter, Reply& refused) {
  filter.used_only = query.has("usedonly");
  if (!query.has("filter")) return true;
  RE2::Options options;
  options.set_log_errors(false);
  filter.pattern = std::make_shared<RE2>(query.get("filter"), options);
  if (filter.pattern->ok()) return true;
  refused = {400, "Invalid re2 regex: " + filter.pattern->error()};
  return false;
}

std::string value_text(const stats::Sample& sample) {
  if (sample.kind == stats::Kind::kGauge) return std::to_string(static_cast<int64_t>(sample.value));
  return std::to_string(sample.value);
}

std::string label_name(std::string_view name) {
  std::string out;
  for (char c : name) out += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return out;
}

std::string label_value(std::string_view value) {
  std::string out;
  for (char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

Reply stats_page(Host& host, const Query& query) {
  std::string format = query.get("format");
  if (format == "prometheus") return prometheus_page(host, query);
  if (!format.empty() && format != "json" && format != "text") {
    return {400, "usage: /stats?format=(json|prometheus|text)\n\n"};
  }
  Filter filter;
  Reply refused;
  if (!make_filter(query, filter, refused)) return refused;
  std::string plain, histograms;
  bool json = format == "json";
  host.stats().each([&](const stats::Sample& sample) {
    if (!filter.takes(sample)) return;
    if (sample.kind != stats::Kind::kHistogram) {
      if (json) {
        plain += (plain.empty() ? "" : ",") +
                 fmt::format("{{\"name\":{},\"value\":{}}}", json_string(sample.name), value_text(sample));
      } else {
        plain += fmt::format("{}: {}\n", sample.name, value_text(sample));
      }
      return;
    }
    if (json) {
      std::string values;
      for (double q : kQuantiles) {
        std::string value = sample.count > 0 ? fmt::format("{:.6g}", quantile(sample, q)) : "null";
        values += (values.empty() ? "" : ",") + fmt::format("{{\"cumulative\":{},\"interval\":null}}", value);
      }
      histograms += (histograms.empty() ? "" : ",") +
                    fmt::format("{{\"name\":{},\"values\":[{}]}}", json_string(sample.name), values);
      return;
    }
    histograms += fmt::format("{}:", sample.name);
    if (sample.count == 0) histograms += " No recorded values";
    for (double q : kQuantiles) {
      if (sample.count > 0) histograms += fmt::format(" P{:g}(nan,{:.6g})", q, quantile(sample, q));
    }
    histograms += '\n';
  });
  if (!json) return {200, plain + histograms};
  if (!histograms.empty()) {
    plain += (plain.empty() ? "" : ",") +
             fmt::format(
                 "{{\"histograms\":{{\"supported_quantiles\":[0,25,50,75,90,95,99,99.5,99.9,100],"
                 "\"computed_quantiles\":[{}]}}}}",
                 histograms);
  }
  return {200, "{\"stats\":[" + plain + "]}", "application/json"};
}

Reply prometheus_page(Host& host, const Query& query) {
  Filter filter;
  Reply refused;
  if (!make_filter(query, filter, refused)) return refused;
  // kind → family → its lines.
  std::map<stats::Kind, std::map<std::string, std::string>> families;
  host.stats().each([&](const stats::Sample& sample) {
    if (!filter.takes(sample)) return;
    // ENVOY: names of a registered namespace stand without it, and without ours.
    static constexpr std::string_view kCustom = "istiocustom.";
    bool custom = sample.tag_name.starts_with(kCustom);
    std::string family =
        custom ? label_name(sample.tag_name.substr(kCustom.size())) : "envoy_" + label_name(sample.tag_name);
    std::string labels;
    for (const auto& tag : *sample.tags) {
      std::string name = tag.name;
      if (name.starts_with("envoy.")) name = "envoy_" + name.substr(6);
      labels += (labels.empty() ? "" : ",") + fmt::format("{}=\"{}\"", label_name(name), label_value(tag.value));
    }
    std::string& out = families[sample.kind][family];
    if (sample.kind != stats::Kind::kHistogram) {
      out += fmt::format("{}{{{}}} {}\n", family, labels, value_text(sample));
      return;
    }
    std::string comma = labels.empty() ? "" : ",";
    uint64_t cumulative = 0;
    for (size_t i = 0; i < stats::kBucketBounds.size(); i++) {
      cumulative += sample.buckets[i];
      out += fmt::format("{}_bucket{{{}{}le=\"{}\"}} {}\n", family, labels, comma, stats::kBucketBounds[i], cumulative);
    }
    out += fmt::format("{}_bucket{{{}{}le=\"+Inf\"}} {}\n", family, labels, comma, sample.count);
    out +=
        fmt::format("{}_sum{{{}}} {}\n{}_count{{{}}} {}\n", family, labels, sample.sum, family, labels, sample.count);
  });
  std::string body;
  static constexpr const char* kTypes[] = {"counter", "gauge", "histogram"};
  for (const auto& [kind, by_name] : families) {
    for (const auto& [family, lines] : by_name) {
      body += fmt::format("# TYPE {} {}\n", family, kTypes[static_cast<size_t>(kind)]) + lines;
    }
  }
  return {200, std::move(body)};
}

}  // namespace pinnace::admin
