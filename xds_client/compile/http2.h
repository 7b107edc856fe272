// Http2ProtocolOptions -> Http2Settings, for listeners and clusters alike. THREAD: compile.
#pragma once

#include "envoy/config/core/v3/protocol.pb.h"
#include "proxy/base/result.h"
#include "proxy/model/http2.h"

namespace pinnace::compile {

// Changes in `out` what the proto sets. ERRORS: names the field.
Result<bool> http2_settings(const envoy::config::core::v3::Http2ProtocolOptions& proto, model::Http2Settings& out);

}  // namespace pinnace::compile
