#include "proxy/route/match.h"

#include <re2/re2.h>

#include <charconv>

#include "proxy/http/authority.h"
#include "proxy/http/grpc.h"

namespace pinnace::route {
namespace {

using http::RequestHead;
using model::HeaderMatch;
using model::PathMatch;

bool header_value(const RequestHead& request, const std::string& name, base::Arena& arena, std::string_view& value) {
  if (name[0] == ':') {
    if (name == ":path") value = request.path;
    else if (name == ":method") value = request.method;
    else if (name == ":authority") value = request.authority;
    else if (name == ":scheme") value = request.scheme;
    else return false;
    return true;
  }
  if (name == "host") {
    value = request.authority;
    return true;
  }
  return request.headers.joined(name, arena, value);
}

bool match_header(const HeaderMatch& match, const RequestHead& request, base::Arena& arena) {
  std::string_view value;
  bool present = header_value(request, match.name, arena, value);
  if (match.kind == HeaderMatch::Kind::kPresent) {
    if (!present && match.missing_is_empty) present = true;
    return (present == match.present) != match.invert;
  }
  if (!present) {
    // ENVOY: a missing header matches nothing, inverted or not, unless it is treated as empty.
    if (!match.missing_is_empty) return false;
    value = "";
  }
  bool matched = false;
  if (match.kind == HeaderMatch::Kind::kString) {
    matched = match.matcher.matches(value);
  } else {
    if (!value.empty() && value[0] == '+') value.remove_prefix(1);
    int64_t number = 0;
    auto parsed = std::from_chars(value.data(), value.data() + value.size(), number);
    matched = parsed.ec == std::errc() && parsed.ptr == value.data() + value.size() && number >= match.range_start &&
              number < match.range_end;
  }
  return matched != match.invert;
}

bool match_query(const model::QueryMatch& match, std::string_view path) {
  size_t question = path.find('?');
  if (question == std::string_view::npos) return false;
  std::string_view rest = path.substr(question + 1);
  rest = rest.substr(0, rest.find('#'));
  while (!rest.empty()) {
    std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    std::string_view name = pair.substr(0, pair.find('='));
    if (name != match.name) continue;
    // ENVOY: the first parameter of that name counts.
    if (!match.matcher) return true;
    std::string_view value = name.size() < pair.size() ? pair.substr(name.size() + 1) : std::string_view();
    return match.matcher->matches(value);
  }
  return false;
}

bool starts_with(std::string_view text, std::string_view prefix, bool case_sensitive) {
  if (text.size() < prefix.size()) return false;
  std::string_view head = text.substr(0, prefix.size());
  return case_sensitive ? head == prefix : http::equals_ignore_case(head, prefix);
}

bool match_path(const PathMatch& match, std::string_view path) {
  switch (match.kind) {
    case PathMatch::Kind::kPrefix: return starts_with(path, match.text, match.case_sensitive);
    case PathMatch::Kind::kExact:
      return path.size() == match.text.size() && starts_with(path, match.text, match.case_sensitive);
    case PathMatch::Kind::kSeparatedPrefix:
      return starts_with(path, match.text, match.case_sensitive) &&
             (path.size() == match.text.size() || path[match.text.size()] == '/');
    case PathMatch::Kind::kRegex: return re2::RE2::FullMatch(re2::StringPiece(path.data(), path.size()), *match.regex);
    case PathMatch::Kind::kConnect: return true;
  }
  return false;
}

}  // namespace

std::string_view path_without_query(std::string_view path) { return path.substr(0, path.find_first_of("?#")); }

const model::VirtualHost* match_host(const model::RouteConfig& config, std::string_view authority, const char*& why) {
  if (config.exact.empty() && config.suffixes.empty() && config.prefixes.empty()) {
    why = config.any ? "domain *" : "the route configuration has no virtual hosts";
    return config.any;
  }
  if (config.ignore_port) authority = http::without_port(authority);
  char short_host[256];
  std::string long_host(authority.size() > sizeof short_host ? authority.size() : 0, '\0');
  char* lower = long_host.empty() ? short_host : long_host.data();
  for (size_t i = 0; i < authority.size(); i++) {
    char c = authority[i];
    lower[i] = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  }
  std::string_view host{lower, authority.size()};
  auto exact = config.exact.find(host);
  if (exact != config.exact.end()) {
    why = "exact domain";
    return exact->second;
  }
  for (const auto& [suffix, virtual_host] : config.suffixes) {
    if (host.size() > suffix.size() && host.substr(host.size() - suffix.size()) == suffix) {
      why = "longest *.suffix domain";
      return virtual_host;
    }
  }
  for (const auto& [prefix, virtual_host] : config.prefixes) {
    if (host.size() > prefix.size() && host.substr(0, prefix.size()) == prefix) {
      why = "longest prefix.* domain";
      return virtual_host;
    }
  }
  why = config.any ? "domain *" : "no domain matches the host";
  return config.any;
}

bool match_route(const model::RouteMatch& match, const RequestHead& request, base::Arena& arena, uint64_t random) {
  // A CONNECT has no path: only connect_matcher takes it, and nothing else.
  if ((match.path.kind == PathMatch::Kind::kConnect) != (request.method == "CONNECT")) return false;
  if (!match_path(match.path, path_without_query(request.path))) return false;
  if (match.runtime_fraction && random % 1000000 >= *match.runtime_fraction) return false;
  for (const auto& header : match.headers) {
    if (!match_header(header, request, arena)) return false;
  }
  for (const auto& query : match.query) {
    if (!match_query(query, request.path)) return false;
  }
  return !match.grpc_only || http::is_grpc_type(request.headers.get(http::HeaderId::kContentType));
}

Decision match(const model::RouteConfig& config, const RequestHead& request, base::Arena& arena, uint64_t random) {
  Decision decision;
  decision.virtual_host = match_host(config, request.authority, decision.why);
  if (!decision.virtual_host) return decision;
  for (const auto& route : decision.virtual_host->routes) {
    if (match_route(route.match, request, arena, random)) {
      decision.route = &route;
      return decision;
    }
  }
  decision.why = "no route of the virtual host matches";
  return decision;
}

const model::WeightedCluster* choose_cluster(std::span<const model::WeightedCluster> clusters, uint32_t total_weight,
                                             uint64_t random) {
  if (clusters.empty()) return nullptr;
  if (clusters.size() == 1) return &clusters[0];
  uint64_t at = random % total_weight;
  for (const auto& cluster : clusters) {
    if (at < cluster.weight) return &cluster;
    at -= cluster.weight;
  }
  return &clusters.back();
}

}  // namespace pinnace::route
