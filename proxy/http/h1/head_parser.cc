#include "proxy/http/h1/head_parser.h"

#include <array>
#include <cstring>

#include "proxy/http/authority.h"

namespace pinnace::http::h1 {
namespace {

// RFC 9110 5.6.2 token characters, mapped to lower case; 0 for all others.
constexpr auto kToken = [] {
  std::array<unsigned char, 256> table{};
  for (int c = '0'; c <= '9'; c++) table[c] = static_cast<unsigned char>(c);
  for (int c = 'a'; c <= 'z'; c++) table[c] = static_cast<unsigned char>(c);
  for (int c = 'A'; c <= 'Z'; c++) table[c] = static_cast<unsigned char>(c | 0x20);
  for (char c : std::string_view("!#$%&'*+-.^_`|~"))
    table[static_cast<unsigned char>(c)] = static_cast<unsigned char>(c);
  return table;
}();

HeadResult fail(const char* detail, HeadError code = HeadError::kMalformed) { return {code, detail, {}}; }

// Without branches on each byte, so that the compiler works on whole vectors.
bool value_ok(const char* text, size_t size) {
  unsigned bad = 0;
  for (size_t i = 0; i < size; i++) {
    auto c = static_cast<unsigned char>(text[i]);
    bad |= static_cast<unsigned>((c < 0x20) & (c != '\t')) | static_cast<unsigned>(c == 0x7f);
  }
  return bad == 0;
}

// nullptr, or why a target is refused.
const char* target_fault(std::string_view target) {
  unsigned high = target.empty(), control = 0;
  for (unsigned char c : target) {
    high |= static_cast<unsigned>(c >= 0x80) | static_cast<unsigned>(c == ' ');
    control |= static_cast<unsigned>(c < 0x20) | static_cast<unsigned>(c == 0x7f);
  }
  return control ? "http1.invalid_characters" : high ? "http1.codec_error" : nullptr;
}

// ENVOY: the methods its parser knows; any other is refused, in any other case too.
constexpr std::string_view kMethods[] = {
    "GET",    "POST",   "PUT",       "DELETE", "HEAD",     "OPTIONS",   "PATCH",      "CONNECT",    "TRACE",
    "ACL",    "BIND",   "CHECKOUT",  "COPY",   "LINK",     "LOCK",      "MERGE",      "MKACTIVITY", "MKCALENDAR",
    "MKCOL",  "MOVE",   "MSEARCH",   "NOTIFY", "PROPFIND", "PROPPATCH", "PURGE",      "REBIND",     "REPORT",
    "SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK",   "UNLOCK",    "UNSUBSCRIBE"};

bool is_method(std::string_view method) {
  for (std::string_view known : kMethods) {
    if (known == method) return true;
  }
  return false;
}

// CONNECT's authority-form: host:port.
bool is_host_port(std::string_view target) {
  size_t colon = target.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == target.size() || target.size() - colon > 6)
    return false;
  uint32_t port = 0;
  for (char c : target.substr(colon + 1)) {
    if (c < '0' || c > '9') return false;
    port = port * 10 + static_cast<uint32_t>(c - '0');
  }
  std::string_view host = target.substr(0, colon);
  bool bracketed = host.front() == '[' && host.back() == ']';
  return port <= 65535 && host.find_first_of("/@") == std::string_view::npos &&
         (bracketed || host.find(':') == std::string_view::npos);
}

// What "connection" may not take away: the fields a proxy's own decisions rest on (CVE: hop-by-hop abuse).
bool nominates(std::string_view list, std::string_view name) { return contains_token(list, name); }

// One CRLF-ended line from *at; false when the line end is a bare LF or holds another CR.
// UNLIKE ENVOY: it takes a bare LF (RFC 9112 2.2 lets a recipient); two proxies that disagree on it can be smuggled
// past.
bool take_line(char*& at, char* end, std::string_view& line) {
  auto* lf = static_cast<char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)));
  if (!lf || lf == at || lf[-1] != '\r') return false;
  line = {at, static_cast<size_t>(lf - 1 - at)};
  at = lf + 1;
  return true;
}

struct Fields {
  uint32_t hosts = 0;
  uint32_t lengths = 0;
  uint32_t codings = 0;
  bool coding_is_chunked = false;
  uint64_t length = 0;
  bool close = false, keep_alive = false;
};

bool parse_length(std::string_view text, uint64_t& length) {
  if (text.empty() || text.size() > 18) return false;
  length = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    length = length * 10 + static_cast<uint64_t>(c - '0');
  }
  return true;
}

// Field lines up to the empty line. `fields` is nullptr for trailers.
HeadResult parse_fields(char* at, char* end, const HeadLimits& limits, HeaderMap& out, Fields* fields) {
  for (;;) {
    if (at == end) return fail("http1.codec_error");
    if (*at == '\r') {
      if (at + 2 == end && at[1] == '\n') return {};
      return fail("http1.codec_error");
    }
    char* name = at;
    while (at < end && kToken[static_cast<unsigned char>(*at)] != 0) {
      *at = static_cast<char>(kToken[static_cast<unsigned char>(*at)]);
      at++;
    }
    // An empty name, a space before the colon, a folded line and any other byte end here.
    // UNLIKE ENVOY: it unfolds obs-fold; RFC 9112 5.2 lets a server refuse it.
    if (at < end && (static_cast<unsigned char>(*at) == 0 || *at == 0x7f)) return fail("http1.invalid_characters");
    if (at == end || *at != ':' || at == name) return fail("http1.codec_error");
    std::string_view key{name, static_cast<size_t>(at - name)};
    at++;
    std::string_view value;
    if (!take_line(at, end, value)) return fail("http1.codec_error");
    value = trim(value);
    // UNLIKE ENVOY: a bare CR within a value is refused, not passed on (RFC 9112 2.2).
    if (!value_ok(value.data(), value.size())) return fail("http1.invalid_characters");
    if (out.size() == limits.max_headers) return fail("http1.too_many_headers", HeadError::kHeadersTooMany);
    HeaderId id = header_id(key);
    out.add(id, key, value);
    if (!fields) continue;
    switch (id) {
      case HeaderId::kHost: fields->hosts++; break;
      case HeaderId::kContentLength:
        if (fields->lengths++ > 0) return fail("http1.codec_error");  // even equal ones: RFC 9112 6.3 allows to refuse
        if (!parse_length(value, fields->length)) return fail("http1.codec_error");
        break;
      case HeaderId::kTransferEncoding:
        fields->codings++;
        fields->coding_is_chunked = equals_ignore_case(value, "chunked");
        break;
      case HeaderId::kProxyConnection:  // ENVOY: treated as connection
      case HeaderId::kConnection:
        if (contains_token(value, "close")) fields->close = true;
        if (contains_token(value, "keep-alive")) fields->keep_alive = true;
        break;
      default: break;
    }
  }
}

// Framing rules common to both directions, RFC 9112 6.3.
HeadResult frame(const Fields& fields, bool http10) {
  HeadResult result;
  HeadInfo& info = result.info;
  info.http10 = http10;
  info.keep_alive = http10 ? fields.keep_alive && !fields.close : !fields.close;
  if (fields.codings > 0) {
    if (fields.codings == 1 && fields.lengths > 0) return fail("http1.content_length_and_chunked_not_allowed");
    if (fields.codings > 1 || !fields.coding_is_chunked) {
      return fail("http1.invalid_transfer_encoding", HeadError::kBadTransferCoding);
    }
    if (fields.lengths > 0) return fail("http1.content_length_and_chunked_not_allowed");
    if (http10) return fail("http1.codec_error");
    info.framing = Framing::kChunked;
  } else if (fields.lengths > 0) {
    info.framing = fields.length > 0 ? Framing::kLength : Framing::kNone;
    info.content_length = fields.length;
  }
  return result;
}

enum class Version : uint8_t { kGood, kOther, kMalformed };

// "HTTP/1.0" or "HTTP/1.1"; kOther is some other HTTP version.
Version parse_version(std::string_view text, bool& http10) {
  if (text.size() != 8 || text.substr(0, 5) != "HTTP/" || text[6] != '.') return Version::kMalformed;
  if (text[5] < '0' || text[5] > '9' || text[7] < '0' || text[7] > '9') return Version::kMalformed;
  http10 = text[7] == '0';
  return text[5] == '1' && (text[7] == '0' || text[7] == '1') ? Version::kGood : Version::kOther;
}

// absolute-form: the target's authority replaces Host (RFC 9112 3.2.2). nullptr, or why it is refused.
const char* split_absolute(std::string_view target, RequestHead& out) {
  size_t scheme_end = target.find("://");
  if (scheme_end == std::string_view::npos || scheme_end == 0)
    return target == "*" ? "http1.invalid_url" : "http1.codec_error";
  std::string_view scheme = target.substr(0, scheme_end);
  if (equals_ignore_case(scheme, "http")) {
    out.scheme = "http";
  } else if (equals_ignore_case(scheme, "https")) {
    out.scheme = "https";
  } else {
    return "http1.invalid_scheme";
  }
  std::string_view rest = target.substr(scheme_end + 3);
  size_t slash = rest.find_first_of("/?");
  out.authority = rest.substr(0, slash);
  out.path = slash == std::string_view::npos ? std::string_view("/") : rest.substr(slash);
  // ENVOY: user information is dropped; where its end is in doubt, the target is refused.
  if (out.authority.find('\\') != std::string_view::npos) return "http1.invalid_url";
  if (size_t at = out.authority.find('@'); at != std::string_view::npos) out.authority.remove_prefix(at + 1);
  if (out.authority.find('@') != std::string_view::npos) return "http1.invalid_url";
  return out.path[0] == '?' || out.authority.empty() ? "http1.invalid_url" : nullptr;
}

HeadResult parse_request_line(std::string_view line, std::string_view& method, std::string_view& target, bool& http10) {
  // UNLIKE ENVOY: exactly one space between the parts and none after them (RFC 9112 3 lets a recipient be lenient).
  size_t first = line.find(' ');
  size_t last = line.rfind(' ');
  if (first == std::string_view::npos) return fail("http1.codec_error");
  method = line.substr(0, first);
  if (first == last) {  // ENVOY: a request line without a version is HTTP/0.9
    bool old = is_method(method) && first + 1 < line.size() && line[first + 1] == '/';
    return fail(old ? "low_version" : "http1.codec_error", old ? HeadError::kVersion : HeadError::kMalformed);
  }
  target = line.substr(first + 1, last - first - 1);
  if (!is_method(method)) return fail("http1.codec_error");
  if (const char* fault = target_fault(target)) return fail(fault);
  switch (parse_version(line.substr(last + 1), http10)) {
    case Version::kGood: break;
    case Version::kOther: return fail("low_version", HeadError::kVersion);
    case Version::kMalformed: return fail("http1.codec_error");
  }
  return {};
}

}  // namespace

size_t find_head_end(std::string_view bytes, size_t& scanned) {
  size_t at = scanned;
  while (at < bytes.size()) {
    auto* lf = static_cast<const char*>(std::memchr(bytes.data() + at, '\n', bytes.size() - at));
    if (!lf) {
      at = bytes.size();
      break;
    }
    auto i = static_cast<size_t>(lf - bytes.data());
    // What stands between this line end and the one before it?
    if (i == 0 || bytes[i - 1] == '\n' || (bytes[i - 1] == '\r' && (i == 1 || bytes[i - 2] == '\n'))) {
      scanned = i + 1;
      return i + 1;
    }
    at = i + 1;
  }
  scanned = at;
  return 0;
}

size_t leading_empty_lines(std::string_view bytes) {
  size_t at = 0;
  while (at + 1 < bytes.size() && bytes[at] == '\r' && bytes[at + 1] == '\n') at += 2;
  return at;
}

bool may_begin_request(std::string_view bytes) {
  size_t end = bytes.find('\n');
  if (end != std::string_view::npos) {
    if (end == 0 || bytes[end - 1] != '\r') return false;
    std::string_view method, target;
    bool http10 = false;
    return parse_request_line(bytes.substr(0, end - 1), method, target, http10).error == HeadError::kNone;
  }
  size_t space = bytes.find(' ');
  if (space != std::string_view::npos) return is_method(bytes.substr(0, space));
  for (std::string_view known : kMethods) {
    if (known.starts_with(bytes)) return true;
  }
  return false;
}

HeadResult parse_request(char* head, size_t size, const HeadLimits& limits, RequestHead& out) {
  char* at = head;
  char* end = head + size;
  std::string_view line;
  if (!take_line(at, end, line)) return fail("http1.codec_error");
  std::string_view target;
  bool http10 = false;
  HeadResult begun = parse_request_line(line, out.method, target, http10);
  if (begun.error != HeadError::kNone) return begun;
  out.protocol = http10 ? Protocol::kHttp10 : Protocol::kHttp11;

  Fields fields;
  HeadResult parsed = parse_fields(at, end, limits, out.headers, &fields);
  if (parsed.error != HeadError::kNone) return parsed;
  // UNLIKE ENVOY: it joins them; RFC 9112 3.2 demands 400.
  if (fields.hosts > 1) return fail("http1.codec_error");
  out.authority = out.headers.get(HeaderId::kHost);
  if (out.method == "CONNECT") {
    if (!is_host_port(target)) return fail("http1.invalid_url");
    if (fields.lengths > 0 && fields.length > 0) return fail("http1.body_disallowed");
    out.authority = target;
    out.path = {};
  } else if (target[0] == '/' || (target == "*" && out.method == "OPTIONS")) {
    out.path = target;
  } else if (const char* fault = split_absolute(target, out)) {
    return fail(fault);
  }
  if (!authority_ok(out.authority)) return fail("http.invalid_authority");
  if (std::string_view list; out.headers.joined(HeaderId::kConnection, out.headers.arena(), list)) {
    if (list.find(':') != std::string_view::npos || nominates(list, "x-forwarded-for") ||
        nominates(list, "x-forwarded-host") || nominates(list, "x-forwarded-proto")) {
      return fail("http1.connection_header_rejected");
    }
    if (nominates(list, "host")) out.authority = {};  // ENVOY: it is taken away, and then missing
    // RFC 9110 7.8: HTTP/1.0 cannot upgrade. ENVOY: h2c is ignored.
    std::string_view upgrade = out.headers.get(HeaderId::kUpgrade);
    if (!http10 && out.method != "CONNECT" && nominates(list, "upgrade") && !contains_token(upgrade, "h2c")) {
      out.upgrade = upgrade;
    }
  }
  out.headers.remove(HeaderId::kHost);

  HeadResult result = frame(fields, http10);
  if (result.error != HeadError::kNone) return result;
  if (out.headers.has(HeaderId::kExpect) && !http10) {
    result.info.expect_continue = equals_ignore_case(out.headers.get(HeaderId::kExpect), "100-continue");
  }
  return result;
}

HeadResult parse_response(char* head, size_t size, const HeadLimits& limits, bool to_head, ResponseHead& out) {
  char* at = head;
  char* end = head + size;
  std::string_view line;
  bool http10 = false;
  if (!take_line(at, end, line)) return fail("http1.codec_error");
  // ENVOY: "HTTP/1.1 200" without the space and reason is taken.
  if (line.size() < 12 || line[8] != ' ') return fail("http1.codec_error");
  // ENVOY: any HTTP version is taken; all but 1.1 close the connection after.
  Version version = parse_version(line.substr(0, 8), http10);
  if (version == Version::kMalformed) return fail("http1.codec_error");
  if (version == Version::kOther) http10 = true;
  if (line.size() > 12 && line[12] != ' ') return fail("http1.codec_error");
  unsigned status = 0;
  for (char c : line.substr(9, 3)) {
    if (c < '0' || c > '9') return fail("http1.codec_error");
    status = status * 10 + static_cast<unsigned>(c - '0');
  }
  if (status < 100 || !value_ok(line.data(), line.size())) return fail("http1.codec_error");
  out.status = static_cast<uint16_t>(status);

  Fields fields;
  HeadResult parsed = parse_fields(at, end, limits, out.headers, &fields);
  if (parsed.error != HeadError::kNone) return parsed;
  bool no_body = bodiless(out.status, to_head);
  if (no_body && fields.codings > 0 && !to_head && out.status != 304) {
    return fail("http1.transfer_encoding_not_allowed");  // RFC 9112 6.1
  }
  if (!to_head && out.status != 304 && no_body && fields.lengths > 0 && (fields.length > 0 || out.status < 200)) {
    return fail("http1.content_length_not_allowed");  // RFC 9110 8.6
  }
  HeadResult result = frame(fields, http10);
  if (result.error != HeadError::kNone) return result;
  if (no_body) {
    result.info.framing = Framing::kNone;
  } else if (fields.codings == 0 && fields.lengths == 0) {
    result.info.framing = Framing::kUntilClose;
    result.info.keep_alive = false;
  }
  return result;
}

HeadResult parse_trailers(char* text, size_t size, const HeadLimits& limits, HeaderMap& out) {
  return parse_fields(text, text + size, limits, out, nullptr);
}

bool is_token(std::string_view text) {
  for (unsigned char c : text) {
    if (kToken[c] == 0) return false;
  }
  return !text.empty();
}

bool is_field_value(std::string_view text) { return value_ok(text.data(), text.size()); }

}  // namespace pinnace::http::h1
