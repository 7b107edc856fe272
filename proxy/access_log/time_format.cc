#include "proxy/access_log/time_format.h"

#include <time.h>

namespace pinnace::access_log {
namespace {

constexpr std::string_view kCalendar = "aAbBcCdDeFgGhHIjmMnprRStTuUVwWxXyYzZ%";
constexpr unsigned kNanoseconds = 9;

uint64_t scaled(uint64_t ns, unsigned digits) {
  for (unsigned i = digits; i < kNanoseconds; i++) ns /= 10;
  return ns;
}

}  // namespace

Result<TimeFormat> TimeFormat::compile(std::string_view text) {
  TimeFormat out;
  auto calendar = [&](std::string_view more) {
    if (out.parts_.empty() || out.parts_.back().kind != Part::Kind::kCalendar) out.parts_.push_back({});
    out.parts_.back().text += more;
  };
  while (!text.empty()) {
    if (text[0] != '%') {
      calendar(text.substr(0, 1));
      text.remove_prefix(1);
      continue;
    }
    bool counted = text.size() > 2 && text[1] >= '1' && text[1] <= '9';
    size_t length = counted ? 3 : 2;
    char letter = text.size() >= length ? text[length - 1] : '\0';
    unsigned digits = counted ? static_cast<unsigned>(text[1] - '0') : 0;
    if (letter == 'f') {
      out.parts_.push_back({Part::Kind::kFraction, {}, counted ? digits : kNanoseconds});
    } else if (letter == 's') {
      out.parts_.push_back({Part::Kind::kEpoch, {}, 0});
    } else if (!counted && letter != '\0' && kCalendar.find(letter) != std::string_view::npos) {
      calendar(text.substr(0, 2));
    } else {
      return error("time specifier " + std::string(text.substr(0, length)) + " is not supported");
    }
    text.remove_prefix(length);
  }
  return out;
}

std::string TimeFormat::render(uint64_t wall_ns) const {
  auto when = static_cast<time_t>(wall_ns / 1000000000);
  tm utc{};
  gmtime_r(&when, &utc);
  std::string out;
  for (const Part& part : parts_) {
    switch (part.kind) {
      case Part::Kind::kCalendar: {
        char text[512];
        out.append(text, strftime(text, sizeof text, part.text.c_str(), &utc));
        break;
      }
      case Part::Kind::kFraction: {
        std::string digits = std::to_string(scaled(wall_ns % 1000000000, part.digits));
        out.append(part.digits - digits.size(), '0') += digits;
        break;
      }
      case Part::Kind::kEpoch: out += std::to_string(wall_ns / 1000000000); break;
    }
  }
  return out;
}

}  // namespace pinnace::access_log
