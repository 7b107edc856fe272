// What of a bootstrap pinnace does not do: told by name when it starts, so that nobody looks for it later. What would
// change how requests are treated is refused where it is compiled.
#pragma once

#include "xds_client/bootstrap.h"

namespace pinnace::xds {

// One line each: "stats_sinks", "stats_config.histogram_bucket_settings".
std::vector<std::string> left_out(const Bootstrap& bootstrap);
// application_log_config.log_format.json_format; empty when it is text. ERRORS: a value that is no string.
Result<std::vector<std::pair<std::string, std::string>>> json_log_fields(const Bootstrap& bootstrap);

}  // namespace pinnace::xds
