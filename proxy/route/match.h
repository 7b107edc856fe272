// Which route a request takes. Pure: (route configuration, request, random number) → route and why. What it looks at
// was normalised once before (path, host); joined header values are what every matcher sees.
#pragma once

#include <span>

#include "proxy/http/message.h"
#include "proxy/model/route.h"

namespace pinnace::route {

struct Decision {
  const model::VirtualHost* virtual_host = nullptr;
  const model::Route* route = nullptr;
  const char* why = "";  // which rule chose the virtual host, or what was missing
};

// The virtual host for an authority: exact, longest "*.suffix", longest "prefix.*", "*".
const model::VirtualHost* match_host(const model::RouteConfig& config, std::string_view authority, const char*& why);

bool match_route(const model::RouteMatch& match, const http::RequestHead& request, base::Arena& arena, uint64_t random);

Decision match(const model::RouteConfig& config, const http::RequestHead& request, base::Arena& arena, uint64_t random);

// The cluster of a route's action: its only one, or one by weight. nullptr: the action names none.
const model::WeightedCluster* choose_cluster(std::span<const model::WeightedCluster> clusters, uint32_t total_weight,
                                             uint64_t random);

std::string_view path_without_query(std::string_view path);

}  // namespace pinnace::route
