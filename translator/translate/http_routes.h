// HTTP routes: one VirtualService's spec.http as envoy.config.route.v3.Route, and the routes of a service without one.
#pragma once

#include <string>
#include <vector>

#include "envoy/config/route/v3/route_components.pb.h"
#include "translator/translate/rule_match.h"

namespace pinnace::translator {

using Route = envoy::config::route::v3::Route;
using VirtualHost = envoy::config::route::v3::VirtualHost;

// The routes that apply in `scope`, in order, up to and including the first that takes everything.
std::vector<Route> translate_http_rule(const MeshState& state, const VirtualService& rule, const RuleScope& scope);

// "default": everything to one cluster.
Route default_route(const std::string& cluster, const std::string& host, uint32_t port);
// The inbound form: no timeout, retried only before a byte was sent (gRPC: not at all).
Route inbound_route(const std::string& cluster, const std::string& operation, bool retry);

// The cluster of a destination seen in `scope`.
std::string destination_cluster(const MeshState& state, const VirtualService& rule, const Destination& destination,
                                const RuleScope& scope);

}  // namespace pinnace::translator
