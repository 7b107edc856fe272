// Compiles envoy.config.accesslog.v3.AccessLogFilter: status code, duration, response flag, and, or, CEL expressions.
// ERRORS: other kinds are refused by name.
#pragma once

#include <memory>

#include "envoy/config/accesslog/v3/accesslog.pb.h"
#include "proxy/access_log/entry_filter.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters {

Result<std::shared_ptr<const access_log::EntryFilter>> entry_filter(
    const envoy::config::accesslog::v3::AccessLogFilter& proto, compile::Context& context);

}  // namespace pinnace::filters
