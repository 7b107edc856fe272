#include "proxy/access_log/format.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <utility>

#include "proxy/access_log/json_text.h"

namespace pinnace::access_log {

using http::RequestHead;

// Envoy: "default format string".
const char* const kDefaultFormat =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% "
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" "
    "\"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

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

// `:N` cuts the value, not what escaping made of it: a cut escape would swallow the quote after it.
std::string_view cut(std::string_view value, const size_t* length) { return length ? value.substr(0, *length) : value; }

// Writes values in a style.
struct Writer {
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
  void value(std::string_view value) const {
    if (value.data() == nullptr) return absent();
    if (!json()) return put_escaped(out, value);
    if (style == Style::kJsonValue) out += '"';
    put_json_escaped(out, value);
    if (style == Style::kJsonValue) out += '"';
  }
  // Empty ones are absent too.
  void text(std::string_view text) const { text.empty() ? absent() : value(text); }
  // ENVOY: details are written with underscores for spaces.
  void details(std::string_view text) const {
    size_t from = out.size();
    this->text(text);
    std::replace(out.begin() + static_cast<std::ptrdiff_t>(from), out.end(), ' ', '_');
  }
  // ENVOY: a name that is no host name is told as such.
  void server_name(std::string_view name) const {
    auto good = [](char c) { return isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_'; };
    if (std::all_of(name.begin(), name.end(), good)) return text(name);
    std::string clean = "invalid:" + std::string(name);
    std::replace_if(
        clean.begin() + 8, clean.end(), [&](char c) { return !good(c); }, '_');
    value(clean);
  }
  void list(const std::vector<std::string>* values) const {
    if (!values || values->empty()) return absent();
    if (values->size() == 1) return value(values->front());
    std::string joined;
    for (const auto& one : *values) joined += (joined.empty() ? "" : ",") + one;
    value(joined);
  }
  void address(const base::Address* address) const;
};

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

void Writer::address(const base::Address* address) const {
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

std::string ip_of(const base::Address* address) { return address ? address->ip_text() : std::string(); }

// "1.2.3.4:80", "[::1]:80" → address and port; a path has neither.
std::pair<std::string_view, std::string_view> split_host(std::string_view host) {
  size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.front() == '/') return {host, {}};
  std::string_view ip = host.substr(0, colon);
  if (ip.size() > 2 && ip.front() == '[') ip = ip.substr(1, ip.size() - 2);
  return {ip, host.substr(colon + 1)};
}

// "2026-11-22T12:00:00.123Z"; the second is formatted once and kept.
void put_time(const Writer& to, uint64_t wall_ns) {
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
  to.plain({text, sizeof text - 1});
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

// The value of ENVIRONMENT(NAME), or of HOSTNAME.
std::string fixed(std::string_view argument) {
  if (argument.empty()) {
    char name[256] = {};
    return gethostname(name, sizeof name - 1) == 0 ? name : "-";
  }
  const char* value = getenv(std::string(argument).c_str());
  return value ? value : "-";  // ENVOY: in JSON too
}

}  // namespace

Format::Name Format::Name::of(std::string_view name) {
  std::string text = lower(name);
  Kind kind = Kind::kField;
  if (text == ":method") kind = Kind::kMethod;
  else if (text == ":path") kind = Kind::kPath;
  else if (text == ":authority" || text == "host") kind = Kind::kAuthority;
  else if (text == ":scheme") kind = Kind::kScheme;
  else if (text.empty() || text[0] == ':') kind = Kind::kNone;
  return {kind, http::header_id(text), text};
}

std::string_view Format::Name::in(const RequestHead& head) const {
  switch (kind) {
    case Kind::kNone: break;
    case Kind::kField: return in(head.headers);
    case Kind::kMethod: return head.method;
    case Kind::kPath: return head.path;
    case Kind::kAuthority: return head.authority;
    case Kind::kScheme: return head.scheme;
  }
  return {};
}

std::string_view Format::Name::in(const http::HeaderMap& fields) const {
  auto there = [](std::string_view value) { return value.data() ? value : std::string_view(""); };
  if (id != http::HeaderId::kOther) return fields.has(id) ? there(fields.get(id)) : std::string_view();
  for (const http::Header& field : fields) {
    if (field.id == id && field.name == text) return there(field.value);
  }
  return {};
}

Result<Format> Format::compile(std::string_view text, Style style) {
  Format format;
  format.style_ = style;
  std::string literal;
  auto flush = [&] {
    if (literal.empty()) return;
    format.items_.push_back({Op::kLiteral, std::move(literal), {}, {}});
    literal.clear();
  };
  while (!text.empty()) {
    if (text[0] != '%') {
      literal += text[0];
      text.remove_prefix(1);
      continue;
    }
    if (text.substr(0, 2) == "%%") {
      literal += '%';
      text.remove_prefix(2);
      continue;
    }
    size_t end = text.find('%', 1);
    if (end == std::string_view::npos) return error("unterminated operator: " + std::string(text));
    auto item = compile_operator(text.substr(1, end - 1));
    if (!item) return item.error();
    flush();
    format.items_.push_back(std::move(*item));
    text.remove_prefix(end + 1);
  }
  flush();
  return format;
}

Result<Format::Item> Format::compile_operator(std::string_view text) {
  static constexpr std::pair<std::string_view, Op> kOps[] = {
      {"START_TIME", Op::kStartTime},
      {"REQ", Op::kRequestHeader},
      {"REQ_WITHOUT_QUERY", Op::kRequestHeaderWithoutQuery},
      {"RESP", Op::kResponseHeader},
      {"PROTOCOL", Op::kProtocol},
      {"RESPONSE_CODE", Op::kResponseCode},
      {"RESPONSE_FLAGS", Op::kResponseFlags},
      {"RESPONSE_CODE_DETAILS", Op::kResponseCodeDetails},
      {"CONNECTION_TERMINATION_DETAILS", Op::kConnectionTerminationDetails},
      {"UPSTREAM_TRANSPORT_FAILURE_REASON", Op::kUpstreamTransportFailureReason},
      {"BYTES_RECEIVED", Op::kBytesReceived},
      {"BYTES_SENT", Op::kBytesSent},
      {"DURATION", Op::kDuration},
      {"UPSTREAM_HOST", Op::kUpstreamHost},
      {"UPSTREAM_REMOTE_ADDRESS", Op::kUpstreamHost},
      {"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Op::kUpstreamHostWithoutPort},
      {"UPSTREAM_REMOTE_PORT", Op::kUpstreamHostPort},
      {"UPSTREAM_CLUSTER", Op::kUpstreamCluster},
      {"UPSTREAM_CLUSTER_RAW", Op::kUpstreamCluster},
      {"UPSTREAM_LOCAL_ADDRESS", Op::kUpstreamLocalAddress},
      {"UPSTREAM_REQUEST_ATTEMPT_COUNT", Op::kAttemptCount},
      {"DOWNSTREAM_LOCAL_ADDRESS", Op::kDownstreamLocalAddress},
      {"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Op::kDownstreamLocalAddressWithoutPort},
      {"DOWNSTREAM_LOCAL_PORT", Op::kDownstreamLocalPort},
      {"DOWNSTREAM_REMOTE_ADDRESS", Op::kDownstreamRemoteAddress},
      {"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Op::kDownstreamRemoteAddressWithoutPort},
      {"DOWNSTREAM_REMOTE_PORT", Op::kDownstreamRemotePort},
      {"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", Op::kDownstreamDirectRemoteAddressWithoutPort},
      {"DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Op::kDownstreamDirectRemoteAddress},
      {"DOWNSTREAM_PEER_URI_SAN", Op::kPeerUriSan},
      {"DOWNSTREAM_LOCAL_URI_SAN", Op::kLocalUriSan},
      {"DOWNSTREAM_PEER_SUBJECT", Op::kPeerSubject},
      {"DOWNSTREAM_TLS_VERSION", Op::kTlsVersion},
      {"DOWNSTREAM_TLS_CIPHER", Op::kTlsCipher},
      {"REQUESTED_SERVER_NAME", Op::kRequestedServerName},
      {"ROUTE_NAME", Op::kRouteName},
      {"HOSTNAME", Op::kFixed},
      {"ENVIRONMENT", Op::kFixed},
  };
  size_t stop = text.find_first_of("(:");
  std::string_view name = text.substr(0, stop);
  Item item;
  auto* found = std::find_if(std::begin(kOps), std::end(kOps), [&](const auto& op) { return op.first == name; });
  if (found == std::end(kOps)) return error("access log operator %" + std::string(name) + "% is not supported");
  item.op = found->second;
  std::string_view rest = stop == std::string_view::npos ? std::string_view() : text.substr(stop);
  std::string_view argument;
  if (!rest.empty() && rest[0] == '(') {
    size_t close = rest.find(')');
    if (close == std::string_view::npos) return error("missing ) in %" + std::string(text) + "%");
    argument = rest.substr(1, close - 1);
    rest.remove_prefix(close + 1);
  }
  if (!rest.empty()) {
    const char* from = rest.data() + 1;
    const char* to = rest.data() + rest.size();
    item.has_length = true;
    if (rest[0] != ':' || from == to || std::from_chars(from, to, item.max_length).ptr != to) {
      return error("bad length in %" + std::string(text) + "%");
    }
  }
  bool takes_header =
      item.op == Op::kRequestHeader || item.op == Op::kResponseHeader || item.op == Op::kRequestHeaderWithoutQuery;
  bool takes_name = takes_header || name == "ENVIRONMENT";
  if (takes_name == argument.empty()) {
    return error("%" + std::string(name) + (takes_name ? "% needs a name" : "% takes no argument here"));
  }
  if (item.op == Op::kFixed) item.text = fixed(argument);
  if (item.has_length && !takes_header) return error("%" + std::string(name) + "% takes no length");
  if (std::count(argument.begin(), argument.end(), '?') > 1 || argument.find(' ') != std::string_view::npos) {
    return error("'" + std::string(argument) + "' in %" + std::string(name) + "% is no header name");
  }
  size_t question = argument.find('?');
  item.name = Name::of(argument.substr(0, question));
  if (question != std::string_view::npos) item.alternative = Name::of(argument.substr(question + 1));
  return item;
}

void Format::render(const Entry& entry, std::string& out, Style style) const {
  for (const Item& item : items_) {
    if (item.op == Op::kLiteral) {
      if (style >= Style::kJson) put_json_escaped(out, item.text);
      else out += item.text;
    } else {
      render_item(item, entry, style, out);
    }
  }
}

void Format::render_item(const Item& item, const Entry& entry, Style style, std::string& out) {
  const http::StreamInfo& info = entry.info;
  const Writer to{out, style};
  const size_t* length = item.has_length ? &item.max_length : nullptr;
  switch (item.op) {
    case Op::kLiteral: break;
    case Op::kFixed: return to.value(item.text);
    case Op::kStartTime: return put_time(to, info.start_wall_ns);
    case Op::kRequestHeaderWithoutQuery:
    case Op::kRequestHeader: {
      std::string_view value;
      if (entry.request) {
        value = item.name.in(*entry.request);
        if (value.data() == nullptr) value = item.alternative.in(*entry.request);
      }
      if (item.op == Op::kRequestHeaderWithoutQuery) value = value.substr(0, value.find('?'));
      // ENVOY: x-forwarded-for is one list, on however many lines it came.
      if (entry.request && item.name.id == http::HeaderId::kForwardedFor && !length) {
        std::string all;
        bool first = true;
        for (const auto& field : entry.request->headers) {
          if (field.id != http::HeaderId::kForwardedFor || std::exchange(first, false)) continue;
          if (all.empty()) all = value;
          (all += ',') += field.value;
        }
        if (!all.empty()) return to.value(all);
      }
      return to.value(cut(value, length));
    }
    case Op::kResponseHeader: {
      std::string_view value;
      if (entry.response) {
        value = item.name.in(entry.response->headers);
        if (value.data() == nullptr && item.alternative.kind != Name::Kind::kNone)
          value = item.alternative.in(entry.response->headers);
      }
      return to.value(cut(value, length));
    }
    case Op::kProtocol: return to.text(info.protocol);
    case Op::kResponseCode: return to.number(info.response_code);
    case Op::kResponseFlags:
      // ENVOY: none is "-" in every style.
      return info.flags == 0 ? to.plain("-") : to.plain(http::flags_text(info.flag_order));
    case Op::kResponseCodeDetails: return to.details(info.details);
    case Op::kConnectionTerminationDetails: return to.text(info.termination_details);
    case Op::kUpstreamTransportFailureReason: return to.details(info.upstream_failure);
    case Op::kBytesReceived: return to.number(info.bytes_received);
    case Op::kBytesSent: return to.number(info.bytes_sent);
    case Op::kDuration: return to.number((info.end_ns - info.start_ns) / 1000000);
    case Op::kUpstreamHost: return to.text(info.upstream_host);
    case Op::kUpstreamHostWithoutPort: return to.text(split_host(info.upstream_host).first);
    case Op::kUpstreamHostPort: {
      std::string_view port = split_host(info.upstream_host).second;
      return port.empty() ? to.absent() : void(out += port);
    }
    case Op::kUpstreamCluster: return to.text(info.cluster_name);
    case Op::kUpstreamLocalAddress: return to.address(&info.upstream_local_address);
    case Op::kDownstreamLocalAddress: return to.address(info.local_address);
    case Op::kDownstreamLocalAddressWithoutPort: return to.text(ip_of(info.local_address));
    case Op::kDownstreamLocalPort: return to.number(info.local_address ? info.local_address->port() : 0);
    case Op::kDownstreamRemoteAddress: return to.address(&info.remote_address);
    case Op::kDownstreamRemoteAddressWithoutPort: return to.text(info.remote_address.ip_text());
    case Op::kDownstreamRemotePort: return to.number(info.remote_address.port());
    case Op::kDownstreamDirectRemoteAddress: return to.address(info.direct_remote_address);
    case Op::kDownstreamDirectRemoteAddressWithoutPort: return to.text(ip_of(info.direct_remote_address));
    case Op::kRequestedServerName: return to.server_name(info.requested_server_name);
    case Op::kRouteName: return to.text(info.route_name);
    case Op::kAttemptCount: return to.number(info.attempts);
    case Op::kPeerUriSan: return to.list(info.tls ? &info.tls->peer_uri_sans : nullptr);
    case Op::kLocalUriSan: return to.list(info.tls ? &info.tls->local_uri_sans : nullptr);
    case Op::kPeerSubject: return to.text(info.tls ? std::string_view(info.tls->peer_subject) : "");
    case Op::kTlsVersion: return to.text(info.tls ? std::string_view(info.tls->version) : "");
    case Op::kTlsCipher: return to.text(info.tls ? std::string_view(info.tls->cipher) : "");
  }
}

}  // namespace pinnace::access_log
