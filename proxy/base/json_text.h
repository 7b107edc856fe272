// Text as it stands inside a JSON string (RFC 8259 7). Pure.
#pragma once

#include <string>
#include <string_view>

namespace pinnace::base {

// ENVOY: what is no UTF-8 is written byte by byte as if it were Latin-1.
void put_json_escaped(std::string& out, std::string_view value);

}  // namespace pinnace::base
