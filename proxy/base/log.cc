#include "proxy/base/log.h"

#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>

namespace pinnace::base {
namespace {

constexpr std::array<std::string_view, 7> kNames = {"trace", "debug", "info", "warning", "error", "critical", "off"};

}  // namespace

std::atomic<LogLevel> Log::threshold_{LogLevel::kInfo};
std::atomic<uint64_t> Log::dropped_{0};

std::optional<LogLevel> parse_log_level(std::string_view name) {
  if (name == "warn") name = "warning";
  for (size_t i = 0; i < kNames.size(); i++) {
    if (kNames[i] == name) return static_cast<LogLevel>(i);
  }
  return std::nullopt;
}

std::string_view log_level_name(LogLevel level) { return kNames[static_cast<size_t>(level)]; }

void Log::write(LogLevel level, std::string_view component, std::string_view text) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  char stamp[32];
  strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
  // One line is one event, whatever a peer put into the text.
  std::string line =
      fmt::format("{}.{:06}Z\t{}\tpinnace {}\t", stamp, now.tv_nsec / 1000, log_level_name(level), component);
  for (char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      line += c;
    }
  }
  line += fmt::format("\tthread={}\n", syscall(SYS_gettid));
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  if (poll(&ready, 1, 0) != 1 || ::write(STDERR_FILENO, line.data(), line.size()) < 0) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace pinnace::base
