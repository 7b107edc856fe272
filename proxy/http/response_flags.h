// Response flags: one per way a request or connection fails, with Envoy's short names (%RESPONSE_FLAGS%).
#pragma once

#include <cstdint>
#include <string>

namespace pinnace::http {

enum class Flag : uint8_t {
  kNoHealthyUpstream,           // UH
  kUpstreamConnectionFailure,   // UF
  kUpstreamOverflow,            // UO
  kNoRouteFound,                // NR
  kUpstreamRetryLimitExceeded,  // URX
  kNoClusterFound,              // NC
  kDownstreamTermination,       // DC
  kUpstreamRemoteReset,         // UR
  kUpstreamTermination,         // UC
  kLocalReset,                  // LR
  kUpstreamTimeout,             // UT
  kDurationTimeout,             // DT
  kStreamIdleTimeout,           // SI
  kDownstreamProtocolError,     // DPE
  kUpstreamProtocolError,       // UPE
  kMaxStreamDuration,           // UMSDR
  kOverloadManager,             // OM
  kDownstreamRemoteReset,       // DR
  kNoFilterConfigFound,         // NFCF
  kCount,
};

using Flags = uint32_t;
constexpr Flags flag_bit(Flag flag) { return Flags{1} << static_cast<unsigned>(flag); }

// "URX,UF", or "-" when there is none, in the order in which they were set (StreamInfo::flag_order).
std::string flags_text(uint64_t order);
// The same in words: "UpstreamRetryLimitExceeded,UpstreamConnectionFailure".
std::string flags_words(uint64_t order);
// The flag a short name stands for, kCount when unknown.
Flag flag_from_text(std::string_view short_name);

}  // namespace pinnace::http
