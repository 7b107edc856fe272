// RouteConfigurations: the ones a sidecar's outbound listeners name ("9080", "fqdn:port") and a gateway's ("http.8080",
// "https.443.name.gateway.ns"). envoy.config.route.v3.RouteConfiguration.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "envoy/config/route/v3/route.pb.h"
#include "translator/translate/http_routes.h"

namespace pinnace::translator {

using RouteConfiguration = envoy::config::route::v3::RouteConfiguration;

std::vector<RouteConfiguration> translate_routes(const MeshState& state, const ProxyFacts& proxy);

// Inline routes of an inbound HTTP chain.
RouteConfiguration inbound_routes(const std::string& cluster, uint32_t service_port, const std::string& host,
                                  bool retry);

// "fqdn:port", the route name of a sniffed port.
std::string sniffed_route_name(const MeshService& service, uint32_t port);

RouteConfiguration new_route_configuration(const std::string& name);
VirtualHost new_virtual_host(const std::string& name);

}  // namespace pinnace::translator
