// UTF-8 (RFC 3629), for what must be it: JSON, protobuf strings, metric labels. Pure.
#pragma once

#include <string>
#include <string_view>

namespace pinnace::base {

// The length of the sequence at the beginning of `text`; 0: there is none.
size_t utf8_length(std::string_view text);
bool is_utf8(std::string_view text);
// ENVOY: each byte that belongs to no sequence becomes '!'.
std::string to_utf8(std::string_view text);

}  // namespace pinnace::base
