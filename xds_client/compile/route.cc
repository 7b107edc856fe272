#include "xds_client/compile/route.h"

#include <re2/re2.h>

#include <algorithm>
#include <set>

#include "xds_client/compile/common.h"
#include "xds_client/compile/route_action.h"

namespace pinnace::compile {
namespace {

namespace pb = envoy::config::route::v3;

Result<model::HeaderMatch> header_match(const pb::HeaderMatcher& proto) {
  using Kind = model::HeaderMatch::Kind;
  using Text = model::StringMatcher;
  model::HeaderMatch out;
  out.name = lower(proto.name());
  if (out.name.empty()) return error("name: empty");
  out.invert = proto.invert_match();
  out.missing_is_empty = proto.treat_missing_header_as_empty();
  auto literal = [&](Text::Kind kind, const std::string& text) {
    out.kind = Kind::kString;
    out.matcher = Text::literal(kind, text, false);
  };
  switch (proto.header_match_specifier_case()) {
    case pb::HeaderMatcher::kExactMatch: literal(Text::Kind::kExact, proto.exact_match()); break;
    case pb::HeaderMatcher::kPrefixMatch: literal(Text::Kind::kPrefix, proto.prefix_match()); break;
    case pb::HeaderMatcher::kSuffixMatch: literal(Text::Kind::kSuffix, proto.suffix_match()); break;
    case pb::HeaderMatcher::kContainsMatch: literal(Text::Kind::kContains, proto.contains_match()); break;
    case pb::HeaderMatcher::kSafeRegexMatch: {
      auto matcher = Text::regex(proto.safe_regex_match().regex());
      if (!matcher) return matcher.error();
      out.kind = Kind::kString;
      out.matcher = std::move(*matcher);
      break;
    }
    case pb::HeaderMatcher::kStringMatch: {
      auto matcher = string_matcher(proto.string_match());
      if (!matcher) return in("string_match", matcher.error());
      out.kind = Kind::kString;
      out.matcher = std::move(*matcher);
      break;
    }
    case pb::HeaderMatcher::kRangeMatch:
      out.kind = Kind::kRange;
      out.range_start = proto.range_match().start();
      out.range_end = proto.range_match().end();
      break;
    case pb::HeaderMatcher::kPresentMatch: out.present = proto.present_match(); break;
    case pb::HeaderMatcher::HEADER_MATCH_SPECIFIER_NOT_SET: break;
  }
  return out;
}

Result<model::RouteMatch> route_match(const pb::RouteMatch& proto, Context& context) {
  using Kind = model::PathMatch::Kind;
  auto known = only_fields(proto, {"prefix", "path", "safe_regex", "path_separated_prefix", "case_sensitive", "headers",
                                   "query_parameters", "grpc", "runtime_fraction", "connect_matcher"});
  if (!known) return known.error();
  model::RouteMatch out;
  out.path.case_sensitive = !proto.has_case_sensitive() || proto.case_sensitive().value();
  switch (proto.path_specifier_case()) {
    case pb::RouteMatch::kPrefix: out.path.text = proto.prefix(); break;
    case pb::RouteMatch::kPath:
      out.path.kind = Kind::kExact;
      out.path.text = proto.path();
      break;
    case pb::RouteMatch::kPathSeparatedPrefix:
      out.path.kind = Kind::kSeparatedPrefix;
      out.path.text = proto.path_separated_prefix();
      break;
    case pb::RouteMatch::kSafeRegex: {
      auto compiled = regex(proto.safe_regex());
      if (!compiled) return in("safe_regex", compiled.error());
      out.path.kind = Kind::kRegex;
      out.path.regex = std::move(*compiled);
      out.path.text = proto.safe_regex().regex();
      break;
    }
    case pb::RouteMatch::kConnectMatcher: out.path.kind = Kind::kConnect; break;
    default: return error("path_specifier: not supported by pinnace");
  }
  for (const auto& header : proto.headers()) {
    auto match = header_match(header);
    if (!match) return in("headers[" + header.name() + "]", match.error());
    out.headers.push_back(std::move(*match));
  }
  for (const auto& query : proto.query_parameters()) {
    model::QueryMatch match;
    match.name = query.name();
    if (query.has_string_match()) {
      auto matcher = string_matcher(query.string_match());
      if (!matcher) return in("query_parameters[" + query.name() + "]", matcher.error());
      match.matcher = std::move(*matcher);
    }
    out.query.push_back(std::move(match));
  }
  out.grpc_only = proto.has_grpc();
  if (proto.has_runtime_fraction()) {
    const auto& fraction = proto.runtime_fraction();
    out.runtime_fraction = context.runtime.fraction(fraction.runtime_key(), fraction.default_value());
  }
  return out;
}

Result<model::Route> route(const pb::Route& proto, const model::VirtualHost& host, Context& context) {
  auto known = only_fields(proto, {"name", "match", "route", "redirect", "direct_response", "metadata", "decorator",
                                   "request_headers_to_add", "request_headers_to_remove", "response_headers_to_add",
                                   "response_headers_to_remove", "stat_prefix"});
  if (!known) return known.error();
  model::Route out;
  out.name = proto.name();
  out.virtual_host = &host;
  out.decorator = proto.decorator().operation();
  out.decorator_propagates = !proto.decorator().has_propagate() || proto.decorator().propagate().value();
  out.istio_config = istio_config(proto.metadata());
  auto match = route_match(proto.match(), context);
  if (!match) return in("match", match.error());
  out.match = std::move(*match);
  auto request = header_mutations(proto.request_headers_to_add(), proto.request_headers_to_remove());
  if (!request) return in("request_headers_to_add", request.error());
  out.request_headers = std::move(*request);
  auto response = header_mutations(proto.response_headers_to_add(), proto.response_headers_to_remove());
  if (!response) return in("response_headers_to_add", response.error());
  out.response_headers = std::move(*response);
  switch (proto.action_case()) {
    case pb::Route::kRoute: {
      auto action = route_action(proto.route(), context);
      if (!action) return in("route", action.error());
      out.action = std::move(*action);
      break;
    }
    case pb::Route::kRedirect: {
      auto action = redirect_action(proto.redirect());
      if (!action) return in("redirect", action.error());
      out.redirect = std::move(*action);
      break;
    }
    case pb::Route::kDirectResponse: {
      model::DirectResponse direct;
      direct.status = static_cast<uint16_t>(proto.direct_response().status());
      if (proto.direct_response().has_body()) {
        auto body = data_source(proto.direct_response().body());
        if (!body) return in("direct_response.body", body.error());
        direct.body = std::move(*body);
      }
      out.direct = std::move(direct);
      break;
    }
    default: return error("action: not supported by pinnace");
  }
  return out;
}

Result<bool> index_domains(model::RouteConfig& config) {
  std::set<std::string> unique;
  for (const auto& host : config.virtual_hosts) {
    for (const auto& domain : host->domains) {
      bool fresh = true;
      if (domain == "*") {
        fresh = config.any == nullptr;
        config.any = host.get();
      } else if (domain[0] == '*') {
        fresh = unique.insert(domain).second;
        config.suffixes.emplace_back(domain.substr(1), host.get());
      } else if (domain.back() == '*') {
        fresh = unique.insert(domain).second;
        config.prefixes.emplace_back(domain.substr(0, domain.size() - 1), host.get());
      } else {
        fresh = config.exact.emplace(domain, host.get()).second;
      }
      if (!fresh) return error("virtual_hosts[" + host->name + "].domains: '" + domain + "' appears twice");
    }
  }
  auto longest = [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); };
  std::stable_sort(config.suffixes.begin(), config.suffixes.end(), longest);
  std::stable_sort(config.prefixes.begin(), config.prefixes.end(), longest);
  return true;
}

}  // namespace

Result<model::RouteConfigPtr> route_config(const pb::RouteConfiguration& proto, Context& context) {
  auto known =
      only_fields(proto, {"name", "virtual_hosts", "internal_only_headers", "response_headers_to_add",
                          "response_headers_to_remove", "request_headers_to_add", "request_headers_to_remove",
                          "validate_clusters", "max_direct_response_body_size_bytes", "ignore_port_in_host_matching"});
  if (!known) return known.error();
  auto config = std::make_shared<model::RouteConfig>();
  config->name = proto.name();
  config->ignore_port = proto.ignore_port_in_host_matching();
  auto request = header_mutations(proto.request_headers_to_add(), proto.request_headers_to_remove());
  if (!request) return in("request_headers_to_add", request.error());
  config->request_headers = std::move(*request);
  auto response = header_mutations(proto.response_headers_to_add(), proto.response_headers_to_remove());
  if (!response) return in("response_headers_to_add", response.error());
  config->response_headers = std::move(*response);
  for (const auto& host_proto : proto.virtual_hosts()) {
    std::string place = "virtual_hosts[" + host_proto.name() + "]";
    auto known_host = only_fields(
        host_proto, {"name", "domains", "routes", "require_tls", "request_headers_to_add", "request_headers_to_remove",
                     "response_headers_to_add", "response_headers_to_remove", "include_request_attempt_count",
                     "include_attempt_count_in_response", "retry_policy", "metadata"});
    if (!known_host) return in(place, known_host.error());
    auto host = std::make_unique<model::VirtualHost>();
    host->name = host_proto.name();
    host->config = config.get();
    for (const auto& domain : host_proto.domains()) {
      if (domain.empty()) return error(place + ".domains: empty domain");
      host->domains.push_back(lower(domain));
    }
    if (host_proto.require_tls() == pb::VirtualHost::ALL) host->require_tls = model::VirtualHost::RequireTls::kAll;
    if (host_proto.require_tls() == pb::VirtualHost::EXTERNAL_ONLY) {
      return error(place + ".require_tls: EXTERNAL_ONLY is not supported");
    }
    host->include_attempt_count = host_proto.include_request_attempt_count();
    host->include_attempt_count_in_response = host_proto.include_attempt_count_in_response();
    auto host_request = header_mutations(host_proto.request_headers_to_add(), host_proto.request_headers_to_remove());
    if (!host_request) return in(place + ".request_headers_to_add", host_request.error());
    host->request_headers = std::move(*host_request);
    auto host_response =
        header_mutations(host_proto.response_headers_to_add(), host_proto.response_headers_to_remove());
    if (!host_response) return in(place + ".response_headers_to_add", host_response.error());
    host->response_headers = std::move(*host_response);
    if (host_proto.has_retry_policy()) {
      auto retry = retry_policy(host_proto.retry_policy());
      if (!retry) return in(place + ".retry_policy", retry.error());
      host->retry = std::move(*retry);
    }
    if (proto.validate_clusters().value() && context.clusters) {
      for (const auto& each : host_proto.routes()) {
        auto there = [&](const std::string& name) { return name.empty() || context.clusters->contains(name); };
        std::string unknown = there(each.route().cluster()) ? "" : each.route().cluster();
        for (const auto& weighted : each.route().weighted_clusters().clusters()) {
          if (!there(weighted.name())) unknown = weighted.name();
        }
        if (!unknown.empty()) return error(place + ".routes: unknown cluster '" + unknown + "' (validate_clusters)");
      }
    }
    host->routes.reserve(static_cast<size_t>(host_proto.routes_size()));
    for (int i = 0; i < host_proto.routes_size(); i++) {
      auto compiled = route(host_proto.routes(i), *host, context);
      if (!compiled) return in(place + ".routes[" + std::to_string(i) + "]", compiled.error());
      host->routes.push_back(std::move(*compiled));
    }
    config->virtual_hosts.push_back(std::move(host));
  }
  auto indexed = index_domains(*config);
  if (!indexed) return indexed.error();
  return model::RouteConfigPtr(std::move(config));
}

}  // namespace pinnace::compile
