// Http1ProtocolOptions -> Http1Options, for listeners and clusters alike. THREAD: compile.
#pragma once

#include "envoy/config/core/v3/protocol.pb.h"
#include "proxy/base/result.h"
#include "proxy/model/http1.h"

namespace pinnace::compile {

// Reads enable_trailers and header_key_format; which other fields there may be is the caller's. ERRORS: names the
// field.
Result<bool> http1_options(const envoy::config::core::v3::Http1ProtocolOptions& proto, model::Http1Options& out);

}  // namespace pinnace::compile
