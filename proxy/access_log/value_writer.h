// ValueWriter: puts one value of a log entry behind `out`, in the style of the log: escaped, quoted, or as what stands
// for a value that is absent. Allocates nothing but the growth of `out`. THREAD: any.
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/address.h"

namespace pinnace::access_log {

// How values are written.
enum class Style : uint8_t {
  kText,      // absent: "-"
  kOmitting,  // absent: nothing (omit_empty_values)
  kJson,      // inside a JSON string; absent: "-"
  kJsonOmitting,
  kJsonValue,  // as a JSON value of its own: numbers bare, absent: null
};

struct ValueWriter {
  std::string& out;
  Style style;

  bool json() const { return style >= Style::kJson; }
  void absent() const {
    if (style == Style::kJsonValue) out += "null";
    else if (style == Style::kText || style == Style::kJson) out += '-';
  }
  void number(uint64_t value) const {
    char digits[20];
    auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    out.append(digits, static_cast<size_t>(end - digits));
  }
  // What needs no escape.
  void plain(std::string_view value) const {
    if (style == Style::kJsonValue) out += '"';
    out += value;
    if (style == Style::kJsonValue) out += '"';
  }
  // Views without data are absent.
  void value(std::string_view value) const;
  // Empty ones are absent too.
  void text(std::string_view text) const { text.empty() ? absent() : value(text); }
  // ENVOY: details are written with underscores for spaces.
  void details(std::string_view text) const;
  // ENVOY: a name that is no host name is told as such.
  void server_name(std::string_view name) const;
  void list(const std::vector<std::string>* values) const;
  void address(const base::Address* address) const;
  // "2026-11-22T12:00:00.123Z"
  void time(uint64_t wall_ns) const;
};

}  // namespace pinnace::access_log
