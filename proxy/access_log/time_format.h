// TimeFormat: what START_TIME(...) is written by: strftime's specifiers in UTC, and Envoy's own: %f and %1f to %9f
// (digits of the second), %s (seconds since the epoch; ENVOY: a digit before the s means nothing). Immutable.
// ERRORS: names the specifier it does not know.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/result.h"

namespace pinnace::access_log {

class TimeFormat {
 public:
  static Result<TimeFormat> compile(std::string_view text);
  std::string render(uint64_t wall_ns) const;

 private:
  struct Part {
    enum class Kind : uint8_t { kCalendar, kFraction, kEpoch } kind = Kind::kCalendar;
    std::string text;     // kCalendar: for strftime
    unsigned digits = 0;  // kFraction
  };
  std::vector<Part> parts_;
};

}  // namespace pinnace::access_log
