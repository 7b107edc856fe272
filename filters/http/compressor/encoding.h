// Which content coding a client wants (RFC 9110 12.5.3), of those that could be had. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace pinnace::filters::compressor {

struct Choice {
  enum class Why : uint8_t { kNotValid, kIdentity, kWildcard, kNamed };
  Why why = Why::kNotValid;
  std::string_view coding;  // of kWildcard and kNamed: one of the offered
};

// ENVOY: the highest quality wins, the earlier in the field among equals; names are compared as they are written; "*"
// stands for the first that is offered. `offered` may name a coding twice.
Choice choose(std::string_view accept_encoding, std::span<const std::string_view> offered);

}  // namespace pinnace::filters::compressor
