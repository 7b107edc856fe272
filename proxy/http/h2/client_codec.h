// ClientCodec for HTTP/2: many requests on one connection. THREAD, LIFETIME: see http/codec.h.
#pragma once

#include <memory>

#include "proxy/http/codec.h"
#include "proxy/model/cluster.h"
#include "proxy/net/connection.h"

namespace pinnace::http::h2 {

std::unique_ptr<ClientCodec> make_client_codec(net::Connection& connection, ClientCodec::Owner& owner,
                                               const model::Http2Settings& settings);

}  // namespace pinnace::http::h2
