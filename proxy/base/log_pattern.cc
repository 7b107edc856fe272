#include "proxy/base/log_pattern.h"

#include <fmt/format.h>
#include <unistd.h>

#include <iterator>

#include "proxy/base/json_text.h"

namespace pinnace::base {

void put_log_pattern(std::string& out, std::string_view pattern, const LogRecord& record) {
  tm utc{};
  gmtime_r(&record.when.tv_sec, &utc);
  auto to = std::back_inserter(out);
  auto time = [&](const char* format) {
    char text[64];
    out.append(text, strftime(text, sizeof text, format, &utc));
  };
  for (size_t i = 0; i < pattern.size(); i++) {
    if (pattern[i] != '%' || i + 1 == pattern.size()) {
      out += pattern[i];
      continue;
    }
    switch (pattern[++i]) {
      case 'Y': time("%Y"); break;
      case 'm': time("%m"); break;
      case 'd': time("%d"); break;
      case 'H': time("%H"); break;
      case 'M': time("%M"); break;
      case 'S': time("%S"); break;
      case 'T': time("%H:%M:%S"); break;
      case 'F': time("%Y-%m-%d"); break;
      case 'z': out += "+00:00"; break;
      case 'f': fmt::format_to(to, "{:06}", record.when.tv_nsec / 1000); break;
      case 'e': fmt::format_to(to, "{:03}", record.when.tv_nsec / 1000000); break;
      case 'l': out += record.level; break;
      case 'n': out += record.component; break;
      case 'v': out += record.text; break;
      case 'j': put_json_escaped(out, record.text); break;
      case 't': fmt::format_to(to, "{}", record.thread); break;
      case 'P': fmt::format_to(to, "{}", getpid()); break;
      case 'g': out += "pinnace"; break;
      case '#': out += '0'; break;
      case '%': out += '%'; break;
      default: out += '%'; out += pattern[i];
    }
  }
}

}  // namespace pinnace::base
