#include "translator/translate/http_routes.h"

#include <fmt/format.h>
#include <strings.h>

#include "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.pb.h"
#include "translator/translate/proto.h"
#include "translator/translate/route_match.h"

namespace pinnace::translator {
namespace {

namespace route3 = envoy::config::route::v3;

constexpr char kDefaultRetryOn[] = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

void set_retry(route3::RetryPolicy* policy, const std::optional<Retries>& retries) {
  policy->mutable_num_retries()->set_value(retries ? static_cast<uint32_t>(retries->attempts) : 2);
  if (!retries || retries->ignore_previous_hosts) {
    auto* predicate = policy->add_retry_host_predicate();
    predicate->set_name("envoy.retry_host_predicates.previous_hosts");
    pack(envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate(),
         predicate->mutable_typed_config());
  }
  policy->set_host_selection_retry_max_attempts(5);
  if (retries && retries->per_try_timeout) set_duration(policy->mutable_per_try_timeout(), *retries->per_try_timeout);
  if (retries && retries->backoff)
    set_duration(policy->mutable_retry_back_off()->mutable_base_interval(), *retries->backoff);
  if (!retries || retries->retry_on.empty()) {
    policy->set_retry_on(kDefaultRetryOn);
    return;
  }
  // Numbers in retryOn are status codes; the rest is Envoy's own vocabulary.
  std::string words;
  for (std::string_view rest = retries->retry_on; !rest.empty();) {
    size_t comma = rest.find(',');
    auto word = rest.substr(0, comma);
    rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    if (word.empty()) continue;
    if (word.find_first_not_of("0123456789") == std::string_view::npos)
      policy->add_retriable_status_codes(static_cast<uint32_t>(std::stoul(std::string(word.substr(0, 4)))));
    else words += (words.empty() ? "" : ",") + std::string(word);
  }
  if (policy->retriable_status_codes_size() > 0 && words.find("retriable-status-codes") == std::string::npos)
    words += (words.empty() ? "" : ",") + std::string("retriable-status-codes");
  policy->set_retry_on(words);
}

bool is_authority(const std::string& name) {
  return name == ":authority" || (name.size() == 4 && strcasecmp(name.c_str(), "host") == 0);
}

// Setting the host is a rewrite of its own in Envoy; as a header operation it would be refused.
template <class To>
void set_authority(const HeaderOperations& request, To* to) {
  for (auto& [name, value] : request.set)
    if (is_authority(name)) to->set_host_rewrite_literal(value);
}

template <class Options>
void add_headers(const HeaderOperations& operations, Options* to) {
  using envoy::config::core::v3::HeaderValueOption;
  for (auto& [name, value] : operations.set) {
    if (is_authority(name)) continue;
    auto* option = to->Add();
    option->mutable_header()->set_key(name);
    option->mutable_header()->set_value(value);
    option->set_append_action(HeaderValueOption::OVERWRITE_IF_EXISTS_OR_ADD);
  }
  for (auto& [name, value] : operations.add) {
    auto* option = to->Add();
    option->mutable_header()->set_key(name);
    option->mutable_header()->set_value(value);
  }
}

// For a Route and for one of its weighted clusters alike.
template <class To>
void set_headers(const HeaderOperations& request, const HeaderOperations& response, To* to) {
  add_headers(request, to->mutable_request_headers_to_add());
  for (auto& name : request.remove) to->add_request_headers_to_remove(name);
  add_headers(response, to->mutable_response_headers_to_add());
  for (auto& name : response.remove) to->add_response_headers_to_remove(name);
}

void set_redirect(const Redirect& from, route3::RedirectAction* to) {
  to->set_host_redirect(from.authority);
  to->set_path_redirect(from.uri);
  if (!from.scheme.empty()) to->set_scheme_redirect(from.scheme);
  if (from.port) to->set_port_redirect(*from.port);
  if (from.port_from_protocol && !from.scheme.empty()) to->set_port_redirect(from.scheme == "https" ? 443 : 80);
  switch (from.code) {
    case 302: to->set_response_code(route3::RedirectAction::FOUND); break;
    case 303: to->set_response_code(route3::RedirectAction::SEE_OTHER); break;
    case 307: to->set_response_code(route3::RedirectAction::TEMPORARY_REDIRECT); break;
    case 308: to->set_response_code(route3::RedirectAction::PERMANENT_REDIRECT); break;
    default: to->set_response_code(route3::RedirectAction::MOVED_PERMANENTLY); break;
  }
}

void set_action(const MeshState& state, const VirtualService& rule, const HttpRoute& from, const RuleScope& scope,
                route3::RouteAction* action) {
  if (from.destinations.size() == 1) {
    action->set_cluster(destination_cluster(state, rule, from.destinations[0].destination, scope));
  } else {
    for (auto& one : from.destinations) {
      if (one.weight == 0) continue;
      auto* cluster = action->mutable_weighted_clusters()->add_clusters();
      cluster->set_name(destination_cluster(state, rule, one.destination, scope));
      cluster->mutable_weight()->set_value(one.weight);
      set_headers(one.request, one.response, cluster);
      set_authority(one.request, cluster);
    }
  }
  set_authority(from.request, action);
  if (from.destinations.size() == 1) set_authority(from.destinations[0].request, action);
  if (from.rewrite) {
    // A uri rewrite replaces what the match took: the whole path of an exact match, the prefix of a prefix match.
    if (!from.rewrite->uri.empty()) action->set_prefix_rewrite(from.rewrite->uri);
    if (!from.rewrite->authority.empty()) action->set_host_rewrite_literal(from.rewrite->authority);
  }
  set_duration(action->mutable_timeout(), from.timeout.value_or(Duration(0)));
  set_duration(action->mutable_max_grpc_timeout(), from.timeout.value_or(Duration(0)));
  if (!from.retries || from.retries->attempts > 0) set_retry(action->mutable_retry_policy(), from.retries);
}

// The operation name of traces: the destination's host and port, or the rule's first host, and the matched path.
std::string operation_of(const Route& route, const VirtualService& rule, uint32_t port) {
  std::string path = "/*";
  auto& match = route.match();
  if (match.has_path()) path = match.path();
  if (match.has_prefix()) path = match.prefix() + "*";
  if (match.has_safe_regex()) path = match.safe_regex().regex();
  if (route.has_route() && !route.route().cluster().empty()) {
    auto& cluster = route.route().cluster();  // outbound|port|subset|host
    size_t first = cluster.find('|'), second = cluster.find('|', first + 1), last = cluster.rfind('|');
    return fmt::format("{}:{}{}", cluster.substr(last + 1), cluster.substr(first + 1, second - first - 1), path);
  }
  return fmt::format("{}:{}{}", rule.hosts[0], port, path);
}

Route translate_route(const MeshState& state, const VirtualService& rule, const HttpRoute& from, const HttpMatch* match,
                      const RuleScope& scope) {
  Route out;
  out.set_name(from.name);
  if (match && !match->name.empty()) out.set_name(from.name.empty() ? match->name : from.name + "." + match->name);
  set_match(match, out.mutable_match());
  if (from.redirect) {
    set_redirect(*from.redirect, out.mutable_redirect());
  } else if (from.direct_response) {
    out.mutable_direct_response()->set_status(from.direct_response->status);
    if (from.direct_response->body)
      out.mutable_direct_response()->mutable_body()->set_inline_string(*from.direct_response->body);
  } else {
    set_action(state, rule, from, scope, out.mutable_route());
    if (from.destinations.size() == 1) set_headers(from.destinations[0].request, from.destinations[0].response, &out);
  }
  set_headers(from.request, from.response, &out);
  set_config_metadata(out.mutable_metadata(), "virtual-service", rule.meta);
  out.mutable_decorator()->set_operation(operation_of(out, rule, scope.port));
  return out;
}

}  // namespace

std::string destination_cluster(const MeshState& state, const VirtualService& rule, const Destination& destination,
                                const RuleScope& scope) {
  auto host = state.resolve_host(destination.host, rule.meta.ns);
  uint32_t port = destination.port;
  if (port == 0) {
    port = scope.port;
    // Inside the mesh a route serves one port and leads to the same one. A gateway's port says nothing about the
    // service's: its only port is meant.
    auto* service = state.service(host, scope.proxy->ns());
    if (scope.gateway != "mesh" && service && service->ports.size() == 1) port = service->ports[0].number;
  }
  return outbound_cluster(port, destination.subset, host);
}

std::vector<Route> translate_http_rule(const MeshState& state, const VirtualService& rule, const RuleScope& scope) {
  std::vector<Route> out;
  for (auto& from : rule.http) {
    if (from.matches.empty()) {
      out.push_back(translate_route(state, rule, from, nullptr, scope));
      return out;
    }
    for (auto& match : from.matches) {
      if (!matches_scope(match, rule, scope)) continue;
      out.push_back(translate_route(state, rule, from, &match, scope));
      if (takes_everything(out.back().match())) return out;  // what follows can never be reached
    }
  }
  return out;
}

Route default_route(const std::string& cluster, const std::string& host, uint32_t port) {
  Route out;
  out.set_name("default");
  out.mutable_match()->set_prefix("/");
  auto* action = out.mutable_route();
  action->set_cluster(cluster);
  action->mutable_timeout();
  action->mutable_max_grpc_timeout();
  set_retry(action->mutable_retry_policy(), std::nullopt);
  out.mutable_decorator()->set_operation(fmt::format("{}:{}/*", host, port));
  return out;
}

Route inbound_route(const std::string& cluster, const std::string& operation, bool retry) {
  Route out;
  out.set_name("default");
  out.mutable_match()->set_prefix("/");
  auto* action = out.mutable_route();
  action->set_cluster(cluster);
  action->mutable_timeout();
  if (retry) {
    action->mutable_retry_policy()->set_retry_on("reset-before-request");
    action->mutable_retry_policy()->mutable_num_retries()->set_value(2);
  }
  action->mutable_max_stream_duration()->mutable_max_stream_duration();
  action->mutable_max_stream_duration()->mutable_grpc_timeout_header_max();
  out.mutable_decorator()->set_operation(operation);
  return out;
}

}  // namespace pinnace::translator
