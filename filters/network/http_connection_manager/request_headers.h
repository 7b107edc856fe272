// What the connection manager does to the headers of a request before routing and of a response before sending:
// hop-by-hop fields, x-forwarded-*, x-request-id, x-forwarded-client-cert, what only trusted clients may say.
#pragma once

#include "filters/network/http_connection_manager/config.h"

namespace pinnace::filters::hcm {

// `client_cert`: the connection's element of x-forwarded-client-cert, made when it is first needed.
void mutate_request(http::RequestHead& request, const Settings& settings, const net::Connection& downstream,
                    std::string& client_cert, base::Rng& rng, base::Address& remote);
void mutate_response(http::ResponseHead& response, const Settings& settings, const http::RequestHead& request,
                     uint64_t wall_ns);
// RFC 9110 6.5.1: a trailer is no place for framing, routing or the connection. UNLIKE ENVOY: it passes them on.
void mutate_trailers(http::HeaderMap& trailers);

}  // namespace pinnace::filters::hcm
