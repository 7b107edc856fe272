#include <fmt/format.h>

#include "translator/fetch/parse.h"

namespace pinnace::translator {
namespace {

StringMatch parse_string_match(Fields fields, bool allow_empty) {
  StringMatch match;
  int given = 0;
  auto take = [&](std::string_view key, StringMatch::Kind kind) {
    if (!fields.has(key)) return;
    given++;
    match = {kind, fields.text(key)};
  };
  take("exact", StringMatch::Kind::kExact);
  take("prefix", StringMatch::Kind::kPrefix);
  take("regex", StringMatch::Kind::kRegex);
  if (fields.has("present")) {  // an alternative spelling of the empty match
    given++;
    if (!fields.flag("present", true)) fields.problem_at("present", "expected true; use withoutHeaders for absence");
  }
  if (given > 1 || (given == 0 && !allow_empty)) fields.problem("expected one of exact, prefix, regex");
  return match;
}

std::map<std::string, StringMatch> parse_string_matches(Fields& fields, std::string_view key) {
  std::map<std::string, StringMatch> out;
  fields.each(key,
              [&](const std::string& name, Fields value) { out[name] = parse_string_match(std::move(value), true); });
  return out;
}

HttpMatch parse_http_match(Fields& fields) {
  HttpMatch match;
  match.name = fields.text("name");
  auto one = [&](std::string_view key, std::optional<StringMatch>& to) {
    if (fields.has(key)) to = parse_string_match(fields.map(key), false);
  };
  one("uri", match.uri);
  one("scheme", match.scheme);
  one("method", match.method);
  one("authority", match.authority);
  match.ignore_uri_case = fields.flag("ignoreUriCase");
  match.headers = parse_string_matches(fields, "headers");
  match.without_headers = parse_string_matches(fields, "withoutHeaders");
  match.query_params = parse_string_matches(fields, "queryParams");
  match.port = fields.number("port", 0, 65535);
  match.source_labels = fields.text_map("sourceLabels");
  match.source_namespace = fields.text("sourceNamespace");
  match.gateways = fields.texts("gateways");
  fields.refuse({"statPrefix"});
  return match;
}

HeaderOperations parse_header_operations(Fields fields) {
  HeaderOperations out{fields.text_map("set"), fields.text_map("add"), fields.texts("remove")};
  for (auto* map : {&out.set, &out.add})
    for (auto& [name, value] : *map)
      if (value.find('%') != std::string::npos)
        fields.problem(fmt::format("header {}: values with % (formatters) are not supported yet", name));
  return out;
}

void parse_headers(Fields& fields, HeaderOperations& request, HeaderOperations& response) {
  auto headers = fields.map("headers");
  request = parse_header_operations(headers.map("request"));
  response = parse_header_operations(headers.map("response"));
}

RouteDestination parse_destination(Fields& fields, bool http) {
  RouteDestination out;
  auto destination = fields.map("destination");
  out.destination.host = destination.text("host");
  out.destination.subset = destination.text("subset");
  if (destination.has("port")) out.destination.port = destination.map("port").number("number", 0, 65535);
  if (out.destination.host.empty()) fields.problem("destination.host is required");
  out.weight = fields.number("weight");
  if (http) parse_headers(fields, out.request, out.response);
  return out;
}

std::vector<RouteDestination> parse_destinations(Fields& fields, bool http) {
  std::vector<RouteDestination> out;
  for (auto& one : fields.maps("route")) out.push_back(parse_destination(one, http));
  if (out.size() > 1) {
    uint64_t total = 0;
    for (auto& one : out) total += one.weight;
    if (total == 0) fields.problem_at("route", "the weights add up to 0");
  }
  return out;
}

Redirect parse_redirect(Fields fields) {
  Redirect out;
  out.uri = fields.text("uri");
  out.authority = fields.text("authority");
  out.scheme = fields.text("scheme");
  out.port = fields.maybe_number("port");
  auto derive = fields.text("derivePort");
  out.port_from_protocol = derive == "FROM_PROTOCOL_DEFAULT";
  if (!derive.empty() && derive != "FROM_PROTOCOL_DEFAULT" && derive != "FROM_REQUEST_PORT")
    fields.problem_at("derivePort", "expected FROM_PROTOCOL_DEFAULT or FROM_REQUEST_PORT");
  out.code = fields.number("redirectCode", 301);
  if (out.code != 301 && out.code != 302 && out.code != 303 && out.code != 307 && out.code != 308)
    fields.problem_at("redirectCode", "expected 301, 302, 303, 307 or 308");
  if (out.uri.find('%') != std::string::npos) fields.problem_at("uri", "%PREFIX()% is not supported yet");
  return out;
}

HttpRoute parse_http_route(Fields& fields) {
  HttpRoute route;
  route.name = fields.text("name");
  for (auto& match : fields.maps("match")) route.matches.push_back(parse_http_match(match));
  route.destinations = parse_destinations(fields, true);
  if (fields.has("redirect")) route.redirect = parse_redirect(fields.map("redirect"));
  if (fields.has("directResponse")) {
    auto direct = fields.map("directResponse");
    route.direct_response = DirectResponse{direct.number("status", 200, 599), std::nullopt};
    if (direct.has("body")) {
      auto body = direct.map("body");
      body.refuse({"bytes"});
      route.direct_response->body = body.text("string");
    }
  }
  if (fields.has("rewrite")) {
    auto rewrite = fields.map("rewrite");
    rewrite.refuse({"uriRegexRewrite"});
    route.rewrite = Rewrite{rewrite.text("uri"), rewrite.text("authority")};
  }
  route.timeout = fields.duration("timeout");
  if (fields.has("retries")) {
    auto retries = fields.map("retries");
    Retries out;
    out.attempts = static_cast<int>(retries.number("attempts", 2, 1000));
    out.per_try_timeout = retries.duration("perTryTimeout");
    out.backoff = retries.duration("backoff");
    out.retry_on = retries.text("retryOn");
    out.ignore_previous_hosts = retries.flag("retryIgnorePreviousHosts", true);
    if (retries.flag("retryRemoteLocalities")) retries.problem_at("retryRemoteLocalities", "is not supported yet");
    route.retries = out;
  }
  parse_headers(fields, route.request, route.response);
  fields.refuse({"fault", "mirror", "mirrors", "mirrorPercentage", "mirror_percent", "corsPolicy", "delegate"});
  int actions = !route.destinations.empty() + route.redirect.has_value() + route.direct_response.has_value();
  if (actions != 1) fields.problem("expected exactly one of route, redirect, directResponse");
  return route;
}

std::vector<L4Route> parse_l4_routes(Fields& spec, std::string_view key) {
  std::vector<L4Route> out;
  for (auto& fields : spec.maps(key)) {
    L4Route route;
    for (auto& match : fields.maps("match")) {
      L4Match one;
      one.sni_hosts = match.texts("sniHosts");
      if (key == "tls" && one.sni_hosts.empty()) match.problem("sniHosts is required");
      if (key == "tcp" && !one.sni_hosts.empty()) match.problem_at("sniHosts", "belongs to spec.tls");
      one.destination_subnets = match.texts("destinationSubnets");
      one.port = match.number("port", 0, 65535);
      one.source_labels = match.text_map("sourceLabels");
      one.source_namespace = match.text("sourceNamespace");
      one.gateways = match.texts("gateways");
      match.refuse({"sourceSubnet"});
      route.matches.push_back(std::move(one));
    }
    if (key == "tls" && route.matches.empty()) fields.problem("match is required");
    route.destinations = parse_destinations(fields, false);
    if (route.destinations.empty()) fields.problem("route is required");
    out.push_back(std::move(route));
  }
  return out;
}

}  // namespace

void parse_virtual_service(Fields& object, Meta meta, std::vector<Object>& out) {
  VirtualService service;
  service.meta = std::move(meta);
  auto spec = object.map("spec");
  service.hosts = spec.texts("hosts");
  if (service.hosts.empty()) spec.problem("hosts is required");
  service.gateways = spec.texts("gateways");
  service.export_to = spec.texts("exportTo");
  for (auto& fields : spec.maps("http")) service.http.push_back(parse_http_route(fields));
  service.tls = parse_l4_routes(spec, "tls");
  service.tcp = parse_l4_routes(spec, "tcp");
  if (service.http.empty() && service.tls.empty() && service.tcp.empty())
    spec.problem("expected http, tls or tcp routes");
  out.push_back(std::move(service));
}

}  // namespace pinnace::translator
