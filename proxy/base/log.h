// The process log: one line per event to stderr, in the form pilot-agent configures for Envoy. Not for requests, which
// have access logs. A full stderr never blocks: the line is dropped and counted. THREAD: any.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pinnace::base {

enum class LogLevel : uint8_t { kTrace, kDebug, kInfo, kWarning, kError, kCritical, kOff };

std::optional<LogLevel> parse_log_level(std::string_view name);
std::string_view log_level_name(LogLevel level);

class Log {
 public:
  // Whether any component logs at that level; write() looks at its own.
  static bool enabled(LogLevel level) { return level >= threshold_.load(std::memory_order_relaxed); }
  static void set_level(LogLevel level);
  // Of one component, pinnace's or one that only Envoy has. False: nobody knows it.
  static bool set_level(std::string_view component, LogLevel level);
  // All of them, by name.
  static std::vector<std::pair<std::string_view, LogLevel>> levels();
  static void write(LogLevel level, std::string_view component, std::string_view text);
  // From now on a line is a JSON object of these (name, pattern), see log_pattern.h.
  // application_log_config.json_format. REQUIRES: before other threads log.
  static void set_json(std::vector<std::pair<std::string, std::string>> fields);
  static uint64_t dropped() { return dropped_.load(std::memory_order_relaxed); }

 private:
  static std::atomic<LogLevel> threshold_;
  static std::atomic<uint64_t> dropped_;
  static std::vector<std::pair<std::string, std::string>> json_;  // empty: text
};

}  // namespace pinnace::base

// PN_LOG(kWarning, "xds", "stream closed: {}", why). The arguments are not evaluated when the level is off.
#define PN_LOG(level, component, ...)                                                                       \
  do {                                                                                                      \
    if (::pinnace::base::Log::enabled(::pinnace::base::LogLevel::level))                                    \
      ::pinnace::base::Log::write(::pinnace::base::LogLevel::level, component, ::fmt::format(__VA_ARGS__)); \
  } while (0)
