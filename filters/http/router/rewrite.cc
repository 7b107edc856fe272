#include "filters/http/router/rewrite.h"

#include <re2/re2.h>

#include <charconv>

#include "proxy/http/mutations.h"
#include "proxy/route/match.h"

namespace pinnace::filters::router {

using http::HeaderId;

namespace {

void rewrite_path(filter::HttpStream& stream, const RouterSettings& settings) {
  const model::Route& route = *stream.route();
  const model::RouteAction& action = *route.action;
  if ((!action.prefix_rewrite && !action.regex_rewrite) || stream.request().path.empty()) return;
  http::RequestHead& request = stream.request();
  std::string_view old = request.path;
  if (!settings.suppress_envoy_headers) request.headers.set(HeaderId::kEnvoyOriginalPath, old);
  std::string path;
  if (action.prefix_rewrite) {
    size_t matched = route.match.path.kind == model::PathMatch::Kind::kRegex ? route::path_without_query(old).size()
                                                                             : route.match.path.text.size();
    path = *action.prefix_rewrite;
    path += old.substr(std::min(matched, old.size()));
  } else {
    std::string_view plain = route::path_without_query(old);
    path = plain;
    re2::RE2::GlobalReplace(&path, *action.regex_rewrite, action.regex_substitution);
    path += old.substr(plain.size());
  }
  request.path = stream.arena().copy(path);
}

}  // namespace

void set_number(filter::HttpStream& stream, HeaderId id, uint64_t value) {
  char* digits = stream.arena().take_chars(20);
  auto end = std::to_chars(digits, digits + 20, value).ptr;
  stream.request().headers.set(id, {digits, static_cast<size_t>(end - digits)});
}

void finalize_request(filter::HttpStream& stream, const RouterSettings& settings, uint64_t expected_ms) {
  http::RequestHead& request = stream.request();
  const model::Route& route = *stream.route();
  const model::RouteAction& action = *route.action;
  http::apply(route.request_headers, request.headers);
  http::apply(route.virtual_host->request_headers, request.headers);
  http::apply(route.virtual_host->config->request_headers, request.headers);
  if (!settings.suppress_envoy_headers && expected_ms > 0) {
    set_number(stream, HeaderId::kEnvoyExpectedTimeout, expected_ms);
  }
  if (action.append_forwarded_host) request.headers.append_to(HeaderId::kForwardedHost, ",", request.authority);
  if (!action.host_rewrite.empty()) request.authority = action.host_rewrite;
  rewrite_path(stream, settings);
}

}  // namespace pinnace::filters::router
