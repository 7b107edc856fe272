// Loads Envoy's bootstrap: JSON or YAML, snake or camel case, numbers as strings, TypedStruct, types nobody knows.
// ERRORS: one line: file, line where known, and reason.
#pragma once

#include <string>

#include "envoy/config/bootstrap/v3/bootstrap.pb.h"
#include "proxy/base/result.h"

namespace pinnace::xds {

using Bootstrap = envoy::config::bootstrap::v3::Bootstrap;

// `path` may be empty when `inline_config` (--config-yaml) is all there is; otherwise the latter is merged over the
// file.
Result<Bootstrap> load_bootstrap(const std::string& path, const std::string& inline_config);

// YAML (of which JSON is a part) as protobuf JSON. An object whose "@type" is not compiled in becomes a TypedStruct
// that names it, so that it can be shown, and refused by name where it matters.
Result<std::string> yaml_to_json(const std::string& text, const std::string& source);

}  // namespace pinnace::xds
