#include "proxy/access_log/value_writer.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "proxy/base/json_text.h"

namespace pinnace::access_log {
namespace {

// A value from a peer cannot break a line or its quotes.
constexpr auto kPlain = [] {
  std::array<bool, 256> table{};
  for (int c = 0x20; c < 256; c++) table[static_cast<size_t>(c)] = c != 0x7f && c != '"' && c != '\\';
  return table;
}();

// Whether all eight bytes are kPlain. May say false where a byte beyond ASCII follows one that is not.
bool all_plain(const char* eight) {
  static constexpr uint64_t kOnes = 0x0101010101010101, kHighs = 0x8080808080808080;
  uint64_t bytes;
  std::memcpy(&bytes, eight, sizeof bytes);
  auto zero = [](uint64_t x) { return (x - kOnes) & ~x; };  // its high bits: a byte is 0
  uint64_t control = (bytes - kOnes * 0x20) & ~bytes;
  uint64_t found = control | zero(bytes ^ kOnes * '"') | zero(bytes ^ kOnes * '\\') | zero(bytes ^ kOnes * 0x7f);
  return (found & kHighs) == 0;
}

void put_escaped(std::string& out, std::string_view value) {
  size_t plain = 0;
  while (value.size() - plain >= 8 && all_plain(value.data() + plain)) plain += 8;
  while (plain < value.size() && kPlain[static_cast<unsigned char>(value[plain])]) plain++;
  out += value.substr(0, plain);
  for (char c : value.substr(plain)) {
    auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      static constexpr char kHex[] = "0123456789abcdef";
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
}

char* put_digits(char* at, uint32_t value) {
  char reversed[10];
  size_t n = 0;
  do {
    reversed[n++] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value > 0);
  while (n > 0) *at++ = reversed[--n];
  return at;
}

}  // namespace

void ValueWriter::value(std::string_view value) const {
  if (value.data() == nullptr) return absent();
  if (!json()) return put_escaped(out, value);
  if (style == Style::kJsonValue) out += '"';
  base::put_json_escaped(out, value);
  if (style == Style::kJsonValue) out += '"';
}

void ValueWriter::details(std::string_view text) const {
  size_t from = out.size();
  this->text(text);
  std::replace(out.begin() + static_cast<std::ptrdiff_t>(from), out.end(), ' ', '_');
}

void ValueWriter::server_name(std::string_view name) const {
  auto good = [](char c) { return isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_'; };
  if (std::all_of(name.begin(), name.end(), good)) return text(name);
  std::string clean = "invalid:" + std::string(name);
  std::replace_if(
      clean.begin() + 8, clean.end(), [&](char c) { return !good(c); }, '_');
  value(clean);
}

void ValueWriter::list(const std::vector<std::string>* values) const {
  if (!values || values->empty()) return absent();
  if (values->size() == 1) return value(values->front());
  std::string joined;
  for (const auto& one : *values) joined += (joined.empty() ? "" : ",") + one;
  value(joined);
}

void ValueWriter::address(const base::Address* address) const {
  using Kind = base::Address::Kind;
  if (!address || address->kind() == Kind::kNone) {
    absent();
  } else if (address->kind() == Kind::kIpv4) {  // the usual case, without a temporary
    char text[sizeof "255.255.255.255:65535"];
    char* at = text;
    for (size_t i = 0; i < 4; i++) {
      if (i > 0) *at++ = '.';
      at = put_digits(at, address->bytes()[i]);
    }
    *at++ = ':';
    at = put_digits(at, address->port());
    plain({text, static_cast<size_t>(at - text)});
  } else {
    value(address->text());
  }
}

// The second is formatted once and kept.
void ValueWriter::time(uint64_t wall_ns) const {
  thread_local uint64_t last_second = 0;
  thread_local char text[sizeof "2026-11-22T12:00:00.123Z"] = {};
  uint64_t second = wall_ns / 1000000000;
  if (second != last_second) {
    last_second = second;
    auto when = static_cast<time_t>(second);
    tm utc{};
    gmtime_r(&when, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.000Z", &utc);
  }
  uint64_t ms = wall_ns / 1000000 % 1000;
  text[20] = static_cast<char>('0' + ms / 100);
  text[21] = static_cast<char>('0' + ms / 10 % 10);
  text[22] = static_cast<char>('0' + ms % 10);
  plain({text, sizeof text - 1});
}

}  // namespace pinnace::access_log
