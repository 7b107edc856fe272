#include "filters/http/compressor/encoding.h"

#include <algorithm>
#include <charconv>

#include "proxy/http/header_map.h"

namespace pinnace::filters::compressor {
namespace {

// ENVOY: a quality beyond 1 counts as it stands; one that is no number is none; another parameter is none at all.
float quality(std::string_view parameters) {
  parameters = http::trim(parameters.substr(0, parameters.find(';')));
  size_t equals = parameters.find('=');
  if (equals == std::string_view::npos) return 1;
  std::string_view name = http::trim(parameters.substr(0, equals)), value = http::trim(parameters.substr(equals + 1));
  if (name != "q" && name != "Q") return 1;
  float q = 0;
  auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), q);
  return failed == std::errc() && end == value.data() + value.size() ? q : 0;
}

}  // namespace

Choice choose(std::string_view accept_encoding, std::span<const std::string_view> offered) {
  auto is_offered = [&](std::string_view name) {
    return std::find(offered.begin(), offered.end(), name) != offered.end();
  };
  std::string_view best;
  float best_quality = 0;
  while (!accept_encoding.empty()) {
    size_t comma = accept_encoding.find(',');
    std::string_view one = accept_encoding.substr(0, comma);
    accept_encoding.remove_prefix(comma == std::string_view::npos ? accept_encoding.size() : comma + 1);
    size_t semicolon = one.find(';');
    std::string_view name = http::trim(one.substr(0, semicolon));
    float q = semicolon == std::string_view::npos ? 1 : quality(one.substr(semicolon + 1));
    if (!(q > best_quality) || !(name == "identity" || name == "*" || is_offered(name))) continue;
    best = name;
    best_quality = q;
  }
  if (best_quality == 0) return {};
  if (best == "identity") return {Choice::Why::kIdentity, {}};
  if (best != "*") return {Choice::Why::kNamed, best};
  if (offered.empty()) return {};
  return {Choice::Why::kWildcard, offered.front()};
}

}  // namespace pinnace::filters::compressor
