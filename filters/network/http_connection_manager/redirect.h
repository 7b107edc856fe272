// Where a redirect leads: the location header of routes with redirect and of hosts with require_tls. Pure.
#pragma once

#include "proxy/http/message.h"
#include "proxy/model/route.h"

namespace pinnace::filters::hcm {

// REQUIRES: route.redirect. LIFETIME: the arena's.
std::string_view redirect_location(const model::Route& route, const http::RequestHead& request, base::Arena& arena);

// The same URL over https (VirtualHost.require_tls).
std::string_view https_location(const http::RequestHead& request, base::Arena& arena);

}  // namespace pinnace::filters::hcm
