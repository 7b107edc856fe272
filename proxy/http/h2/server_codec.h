// ServerCodec for HTTP/2. THREAD, LIFETIME: see http/codec.h.
#pragma once

#include <memory>

#include "proxy/http/codec.h"
#include "proxy/http/h1/server_codec.h"
#include "proxy/http/h2/codec_stats.h"
#include "proxy/model/http2.h"
#include "proxy/net/connection.h"

namespace pinnace::http::h2 {

// `limits`: decoded head bytes and field count, the same limits as for h1.
std::unique_ptr<ServerCodec> make_server_codec(net::Connection& connection, ServerCodec::Owner& owner,
                                               const model::Http2Settings& settings, const h1::ServerSettings& limits,
                                               const CodecStats& stats = {});

}  // namespace pinnace::http::h2
