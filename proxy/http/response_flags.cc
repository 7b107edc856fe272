#include "proxy/http/response_flags.h"

#include <array>
#include <string_view>

namespace pinnace::http {
namespace {

constexpr std::array<std::string_view, static_cast<size_t>(Flag::kCount)> kNames = {
    "UH", "UF", "UO", "NR",  "URX", "NC",    "DC", "UR", "UC",  "LR",
    "UT", "DT", "SI", "DPE", "UPE", "UMSDR", "OM", "DR", "NFCF"};

constexpr std::array<std::string_view, static_cast<size_t>(Flag::kCount)> kWords = {"NoHealthyUpstream",
                                                                                    "UpstreamConnectionFailure",
                                                                                    "UpstreamOverflow",
                                                                                    "NoRouteFound",
                                                                                    "UpstreamRetryLimitExceeded",
                                                                                    "NoClusterFound",
                                                                                    "DownstreamConnectionTermination",
                                                                                    "UpstreamRemoteReset",
                                                                                    "UpstreamConnectionTermination",
                                                                                    "LocalReset",
                                                                                    "UpstreamRequestTimeout",
                                                                                    "DurationTimeout",
                                                                                    "StreamIdleTimeout",
                                                                                    "DownstreamProtocolError",
                                                                                    "UpstreamProtocolError",
                                                                                    "UpstreamMaxStreamDurationReached",
                                                                                    "OverloadManagerTerminated",
                                                                                    "DownstreamRemoteReset",
                                                                                    "NoFilterConfigFound"};

std::string listed(uint64_t order, const std::array<std::string_view, static_cast<size_t>(Flag::kCount)>& names) {
  if (order == 0) return "-";
  std::string text;
  for (int shift = 56; shift >= 0; shift -= 8) {
    uint64_t flag = order >> shift & 0xff;
    if (flag == 0) continue;
    if (!text.empty()) text += ',';
    text += names[flag - 1];
  }
  return text;
}

}  // namespace

std::string flags_text(uint64_t order) { return listed(order, kNames); }
std::string flags_words(uint64_t order) { return listed(order, kWords); }

Flag flag_from_text(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); i++) {
    if (kNames[i] == name) return static_cast<Flag>(i);
  }
  return Flag::kCount;
}

}  // namespace pinnace::http
