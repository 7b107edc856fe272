// ClientCodec for HTTP/2: many requests on one connection. THREAD, LIFETIME: see http/codec.h.
#pragma once

#include <memory>

#include "proxy/http/codec.h"
#include "proxy/http/h1/client_codec.h"
#include "proxy/http/h2/codec_stats.h"
#include "proxy/model/http2.h"
#include "proxy/net/connection.h"

namespace pinnace::http::h2 {

// `limits`: of response heads, the same as for h1.
std::unique_ptr<ClientCodec> make_client_codec(net::Connection& connection, ClientCodec::Owner& owner,
                                               const model::Http2Settings& settings, const h1::ClientSettings& limits,
                                               const CodecStats& stats = {});

}  // namespace pinnace::http::h2
