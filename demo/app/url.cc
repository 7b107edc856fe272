#include "demo/app/url.h"

#include <algorithm>

namespace pinnace::demo {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// What is no escape stays as it is: a URL given by hand within a query is rarely escaped.
std::string unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

}  // namespace

std::optional<unsigned> parse_number(std::string_view text) {
  if (text.empty() || text.size() > 9) return std::nullopt;
  unsigned number = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + static_cast<unsigned>(c - '0');
  }
  return number;
}

std::optional<HttpUrl> parse_http_url(std::string_view text) {
  constexpr std::string_view kScheme = "http://";
  if (!text.starts_with(kScheme)) return std::nullopt;
  text.remove_prefix(kScheme.size());
  // What goes into a request line or a header must not end it.
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c <= ' ' || c == 0x7f; })) return std::nullopt;

  const size_t end = std::min(text.find_first_of("/?#"), text.size());
  HttpUrl url;
  url.authority = text.substr(0, end);
  const std::string_view rest = text.substr(end).substr(0, text.substr(end).find('#'));
  if (!rest.starts_with('/')) url.target = '/';
  url.target += rest;

  const std::string_view authority = url.authority;
  const bool bracketed = authority.starts_with('[');
  const size_t host_end = bracketed ? authority.find(']') : std::min(authority.find(':'), authority.size());
  if (host_end == std::string_view::npos) return std::nullopt;
  url.host = bracketed ? authority.substr(1, host_end - 1) : authority.substr(0, host_end);
  const std::string_view after = authority.substr(host_end + (bracketed ? 1 : 0));
  url.port = after.empty() ? "80" : after.substr(1);
  const std::optional<unsigned> port = parse_number(url.port);
  if (url.host.empty() || (!after.empty() && after[0] != ':') || !port || *port == 0 || *port > 65535)
    return std::nullopt;
  return url;
}

Target parse_target(std::string_view target) {
  const size_t mark = std::min(target.find('?'), target.size());
  Target parsed{std::string(target.substr(0, mark)), {}};
  std::string_view query = target.substr(std::min(mark + 1, target.size()));
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    const size_t equals = std::min(pair.find('='), pair.size());
    parsed.query.emplace_back(unescape(pair.substr(0, equals)),
                              unescape(pair.substr(std::min(equals + 1, pair.size()))));
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return parsed;
}

std::optional<std::string> Target::value_of(std::string_view name) const {
  const auto found = std::find_if(query.begin(), query.end(), [&](const auto& pair) { return pair.first == name; });
  if (found == query.end()) return std::nullopt;
  return found->second;
}

}  // namespace pinnace::demo
