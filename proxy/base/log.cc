#include "proxy/base/log.h"

#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "proxy/base/json_text.h"
#include "proxy/base/log_pattern.h"

namespace pinnace::base {
namespace {

constexpr std::array<std::string_view, 7> kNames = {"trace", "debug", "info", "warning", "error", "critical", "off"};

// Sorted. Pinnace's own and Envoy's, so that what people type for Envoy is understood.
constexpr std::string_view kComponents[] = {"access_log",
                                            "admin",
                                            "assert",
                                            "client",
                                            "config",
                                            "conn_handler",
                                            "connection",
                                            "dns",
                                            "ext_authz",
                                            "ext_proc",
                                            "file",
                                            "filter",
                                            "forward_proxy",
                                            "grpc",
                                            "hc",
                                            "health_checker",
                                            "http",
                                            "http2",
                                            "init",
                                            "io",
                                            "jwt",
                                            "listener",
                                            "local_rate_limit",
                                            "lua",
                                            "main",
                                            "matcher",
                                            "misc",
                                            "mongo",
                                            "oauth2",
                                            "outlier",
                                            "pool",
                                            "rate_limit_quota",
                                            "ratelimit",
                                            "rbac",
                                            "redis",
                                            "router",
                                            "runtime",
                                            "secret",
                                            "stats",
                                            "tap",
                                            "tls",
                                            "tracing",
                                            "upstream",
                                            "wasm",
                                            "xds"};
static_assert(std::is_sorted(std::begin(kComponents), std::end(kComponents)));

std::atomic<LogLevel>* level_of(std::string_view component) {
  static auto& levels = *[] {
    auto* made = new std::array<std::atomic<LogLevel>, std::size(kComponents)>;
    for (auto& level : *made) level = LogLevel::kInfo;
    return made;
  }();
  const auto* at = std::lower_bound(std::begin(kComponents), std::end(kComponents), component);
  if (at == std::end(kComponents) || *at != component) return nullptr;
  return &levels[static_cast<size_t>(at - std::begin(kComponents))];
}

}  // namespace

void Log::set_level(LogLevel level) {
  for (std::string_view component : kComponents) *level_of(component) = level;
  threshold_ = level;
}

bool Log::set_level(std::string_view component, LogLevel level) {
  auto* own = level_of(component);
  if (!own) return false;
  *own = level;
  LogLevel least = LogLevel::kOff;
  for (std::string_view each : kComponents) least = std::min(least, level_of(each)->load());
  threshold_ = least;
  return true;
}

std::vector<std::pair<std::string_view, LogLevel>> Log::levels() {
  std::vector<std::pair<std::string_view, LogLevel>> out;
  for (std::string_view component : kComponents) out.emplace_back(component, level_of(component)->load());
  return out;
}

std::atomic<LogLevel> Log::threshold_{LogLevel::kInfo};
std::atomic<uint64_t> Log::dropped_{0};
std::vector<std::pair<std::string, std::string>> Log::json_;

void Log::set_json(std::vector<std::pair<std::string, std::string>> fields) { json_ = std::move(fields); }

std::optional<LogLevel> parse_log_level(std::string_view name) {
  if (name == "warn") name = "warning";
  for (size_t i = 0; i < kNames.size(); i++) {
    if (kNames[i] == name) return static_cast<LogLevel>(i);
  }
  return std::nullopt;
}

std::string_view log_level_name(LogLevel level) { return kNames[static_cast<size_t>(level)]; }

void Log::write(LogLevel level, std::string_view component, std::string_view text) {
  if (const auto* own = level_of(component); own && level < own->load(std::memory_order_relaxed)) return;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  LogRecord record{now, log_level_name(level), component, text, syscall(SYS_gettid)};
  std::string line;
  if (json_.empty()) {
    put_log_pattern(line, "%Y-%m-%dT%T.%fZ\t%l\tpinnace %n\t", record);
    // One line is one event, whatever a peer put into the text.
    for (char c : text) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
        line += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      } else {
        line += c;
      }
    }
    put_log_pattern(line, "\tthread=%t\n", record);
  } else {
    for (const auto& [name, pattern] : json_) {
      std::string value;
      put_log_pattern(value, pattern, record);
      line += line.empty() ? "{\"" : ",\"";
      put_json_escaped(line, name);
      line += "\":\"";
      // The text is escaped already where the pattern says so.
      pattern.find("%j") == std::string::npos ? put_json_escaped(line, value) : void(line += value);
      line += '"';
    }
    line += "}\n";
  }
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  if (poll(&ready, 1, 0) != 1 || ::write(STDERR_FILENO, line.data(), line.size()) < 0) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace pinnace::base
