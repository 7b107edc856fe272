#include "filters/network/http_connection_manager/redirect.h"

namespace pinnace::filters::hcm {

namespace {

std::string redirect_path(const model::Route& route, std::string_view old) {
  const model::RedirectAction& to = *route.redirect;
  size_t query = old.find('?');
  if (!to.path.empty()) {
    bool own_query = to.path.find('?') != std::string::npos;
    std::string path = to.path;
    if (!to.strip_query && !own_query && query != std::string_view::npos) path += old.substr(query);
    return path;
  }
  if (to.strip_query) old = old.substr(0, query);
  if (!to.has_prefix_rewrite) return std::string(old);
  std::string path = to.prefix_rewrite;
  path += old.substr(std::min(route.match.path.text.size(), old.size()));
  return path;
}

}  // namespace

std::string_view redirect_location(const model::Route& route, const http::RequestHead& request, base::Arena& arena) {
  const model::RedirectAction& to = *route.redirect;
  std::string_view scheme = to.https ? std::string_view("https") : !to.scheme.empty() ? to.scheme : request.scheme;
  std::string_view host = to.host.empty() ? request.authority : to.host;
  size_t colon = host.rfind(':');
  bool has_port = colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos;
  // ENVOY: a port goes when it was the old scheme's default or a new port is given.
  if (has_port && (to.port != 0 || (scheme == "https" && host.substr(colon) == ":80") ||
                   (scheme == "http" && host.substr(colon) == ":443"))) {
    host = host.substr(0, colon);
  }
  std::string url(scheme);
  url += "://";
  url += host;
  if (to.port != 0) {
    url += ':';
    url += std::to_string(to.port);
  }
  url += redirect_path(route, request.path);
  return arena.copy(url);
}

std::string_view https_location(const http::RequestHead& request, base::Arena& arena) {
  std::string url = "https://";
  url += request.authority;
  url += request.path;
  return arena.copy(url);
}

}  // namespace pinnace::filters::hcm
