// The few pieces of RFC 3986 that the demo application needs. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pinnace::demo {

// An absolute http URL. `authority` is as written, for the Host header; `host` is without port and brackets.
struct HttpUrl {
  std::string authority;
  std::string host;
  std::string port;
  std::string target;
};

std::optional<HttpUrl> parse_http_url(std::string_view text);

// A request target in origin form: its path as it was sent, and its query decoded, in order.
struct Target {
  std::string path;
  std::vector<std::pair<std::string, std::string>> query;

  std::optional<std::string> value_of(std::string_view name) const;
};

Target parse_target(std::string_view target);

// A decimal number of at most nine digits.
std::optional<unsigned> parse_number(std::string_view text);

}  // namespace pinnace::demo
