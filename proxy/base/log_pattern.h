// The flags of spdlog's patterns that application_log_config and Envoy's documentation use: %Y %m %d %H %M %S %T %F, %f
// (microseconds) and %e (milliseconds), %z, %l (level), %n (component), %v and %j (the text; %j as it stands inside a
// JSON string), %t (thread), %P (process), %g and %# (source, which pinnace does not tell: "pinnace" and 0), %%. Others
// stay as they are. Pure.
#pragma once

#include <time.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace pinnace::base {

struct LogRecord {
  timespec when;
  std::string_view level, component, text;
  int64_t thread = 0;
};

void put_log_pattern(std::string& out, std::string_view pattern, const LogRecord& record);

}  // namespace pinnace::base
