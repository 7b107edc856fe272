#include "proxy/access_log/format.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <iterator>
#include <utility>

#include "proxy/access_log/value_writer.h"
#include "proxy/base/json_text.h"

namespace pinnace::access_log {

using http::RequestHead;

// Envoy: "default format string".
const char* const kDefaultFormat =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% "
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" "
    "\"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

namespace {

// `:N` cuts the value, not what escaping made of it: a cut escape would swallow the quote after it.
std::string_view cut(std::string_view value, const uint32_t* length) {
  return length ? value.substr(0, *length) : value;
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

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

// Where the operator that `text` begins with ends: its second '%'. What stands in parentheses may have some of both.
size_t operator_end(std::string_view text) {
  size_t at = 1;
  while (at < text.size() && (std::isupper(static_cast<unsigned char>(text[at])) || text[at] == '_')) at++;
  if (at >= text.size() || text[at] != '(') return text.find('%', 1);
  for (size_t close = text.find(')', at); close != std::string_view::npos; close = text.find(')', close + 1)) {
    size_t after = close + 1;
    if (after < text.size() && text[after] == ':') {
      while (++after < text.size() && std::isdigit(static_cast<unsigned char>(text[after]))) continue;
    }
    if (after < text.size() && text[after] == '%') return after;
  }
  return std::string_view::npos;
}

void grpc_status_name(const ValueWriter& to, int status, bool snake_case) {
  static constexpr const char* kCamel[] = {
      "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
      "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
      "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
      "DataLoss", "Unauthenticated"};
  static constexpr const char* kSnake[] = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  if (status < 0) return to.absent();
  if (static_cast<size_t>(status) >= std::size(kCamel)) return to.plain(std::to_string(status));
  to.plain((snake_case ? kSnake : kCamel)[status]);
}

// Absent when either end is.
void milliseconds(const ValueWriter& to, uint64_t from_ns, uint64_t to_ns) {
  if (from_ns == 0 || to_ns == 0) return to.absent();
  to.number(to_ns > from_ns ? (to_ns - from_ns) / 1000000 : 0);
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

Result<Format> Format::compile(std::string_view text, Style style, const MakeOperator& more) {
  Format format;
  format.style_ = style;
  std::string literal;
  auto flush = [&] {
    if (literal.empty()) return;
    Item& item = format.items_.emplace_back();
    if (style >= Style::kJson) base::put_json_escaped(item.text, literal);
    else item.text = literal;
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
    size_t end = operator_end(text);
    if (end == std::string_view::npos) return error("unterminated operator: " + std::string(text));
    auto item = compile_operator(text.substr(1, end - 1), more);
    if (!item) return item.error();
    flush();
    format.items_.push_back(std::move(*item));
    text.remove_prefix(end + 1);
  }
  flush();
  return format;
}

Result<Format::Item> Format::compile_operator(std::string_view text, const MakeOperator& more) {
  static constexpr std::pair<std::string_view, Op> kOps[] = {
      {"START_TIME", Op::kStartTime},
      {"REQ", Op::kRequestHeader},
      {"REQ_WITHOUT_QUERY", Op::kRequestHeaderWithoutQuery},
      {"RESP", Op::kResponseHeader},
      {"TRAILER", Op::kTrailer},
      {"GRPC_STATUS", Op::kGrpcStatus},
      {"GRPC_STATUS_NUMBER", Op::kGrpcStatusNumber},
      {"PROTOCOL", Op::kProtocol},
      {"RESPONSE_CODE", Op::kResponseCode},
      {"RESPONSE_FLAGS", Op::kResponseFlags},
      {"RESPONSE_FLAGS_LONG", Op::kResponseFlagsLong},
      {"RESPONSE_CODE_DETAILS", Op::kResponseCodeDetails},
      {"CONNECTION_TERMINATION_DETAILS", Op::kConnectionTerminationDetails},
      {"UPSTREAM_TRANSPORT_FAILURE_REASON", Op::kUpstreamTransportFailureReason},
      {"BYTES_RECEIVED", Op::kBytesReceived},
      {"BYTES_SENT", Op::kBytesSent},
      {"DURATION", Op::kDuration},
      {"REQUEST_DURATION", Op::kRequestDuration},
      {"RESPONSE_DURATION", Op::kResponseDuration},
      {"RESPONSE_TX_DURATION", Op::kResponseTxDuration},
      {"ACCESS_LOG_TYPE", Op::kLogType},
      {"UPSTREAM_HOST", Op::kUpstreamHost},
      {"UPSTREAM_REMOTE_ADDRESS", Op::kUpstreamHost},
      {"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Op::kUpstreamHostWithoutPort},
      {"UPSTREAM_REMOTE_PORT", Op::kUpstreamHostPort},
      {"UPSTREAM_CLUSTER", Op::kUpstreamCluster},
      {"UPSTREAM_CLUSTER_RAW", Op::kUpstreamClusterRaw},
      {"UPSTREAM_PROTOCOL", Op::kUpstreamProtocol},
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
      {"DOWNSTREAM_PEER_DNS_SAN", Op::kPeerDnsSan},
      {"DOWNSTREAM_PEER_FINGERPRINT_256", Op::kPeerFingerprint},
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
  std::string_view rest = stop == std::string_view::npos ? std::string_view() : text.substr(stop);
  std::string_view argument;
  if (!rest.empty() && rest[0] == '(') {
    size_t close = rest.rfind(')');
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
  if (found == std::end(kOps)) {
    auto other = more ? more(name, argument) : Result<OperatorPtr>(OperatorPtr());
    if (!other) return other.error();
    if (!*other) return error("access log operator %" + std::string(name) + "% is not supported");
    if (item.has_length) return error("%" + std::string(name) + "% takes no length");
    item.op = Op::kOther;
    item.rare = std::make_shared<const Rare>(Rare{.other = std::move(*other)});
    return item;
  }
  item.op = found->second;
  if (item.op == Op::kStartTime && !argument.empty()) {
    auto time = TimeFormat::compile(argument);
    if (!time) return time.error();
    item.op = Op::kStartTimeFormat;
    item.rare = std::make_shared<const Rare>(Rare{.time = std::move(*time)});
    argument = {};
  }
  if (item.op == Op::kGrpcStatus && !argument.empty()) {
    if (argument == "NUMBER") item.op = Op::kGrpcStatusNumber;
    else if (argument == "SNAKE_STRING") item.rare = std::make_shared<const Rare>(Rare{.snake_case = true});
    else if (argument != "CAMEL_STRING") return error("%GRPC_STATUS% knows CAMEL_STRING, SNAKE_STRING and NUMBER");
    argument = {};
  }
  bool takes_header = item.op == Op::kRequestHeader || item.op == Op::kResponseHeader || item.op == Op::kTrailer ||
                      item.op == Op::kRequestHeaderWithoutQuery;
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
  if (question != std::string_view::npos) {
    item.rare = std::make_shared<const Rare>(Rare{.alternative = Name::of(argument.substr(question + 1))});
  }
  return item;
}

void Format::render(const Entry& entry, std::string& out, Style style) const {
  for (const Item& item : items_) {
    if (item.op == Op::kLiteral) out += item.text;
    else render_item(item, entry, style, out);
  }
}

void Format::render_item(const Item& item, const Entry& entry, Style style, std::string& out) {
  const http::StreamInfo& info = entry.info;
  const ValueWriter to{out, style};
  const uint32_t* length = item.has_length ? &item.max_length : nullptr;
  switch (item.op) {
    case Op::kLiteral: break;
    case Op::kFixed: return to.value(item.text);
    case Op::kStartTime: return to.time(info.start_wall_ns);
    case Op::kStartTimeFormat: return to.value(item.rare->time.render(info.start_wall_ns));
    case Op::kGrpcStatus:
      return grpc_status_name(to, is_grpc_call(entry) ? grpc_status(entry) : -1, item.rare && item.rare->snake_case);
    case Op::kGrpcStatusNumber: {
      int status = is_grpc_call(entry) ? grpc_status(entry) : -1;
      return status < 0 ? to.absent() : to.number(static_cast<uint64_t>(status));
    }
    case Op::kTrailer: {
      std::string_view value;
      if (entry.trailers) value = item.name.in(*entry.trailers);
      if (entry.trailers && value.data() == nullptr && item.rare) value = item.rare->alternative.in(*entry.trailers);
      return to.value(cut(value, length));
    }
    case Op::kOther: return item.rare->other->write(entry, to);
    case Op::kRequestHeaderWithoutQuery:
    case Op::kRequestHeader: {
      std::string_view value;
      if (entry.request) {
        value = item.name.in(*entry.request);
        if (value.data() == nullptr && item.rare) value = item.rare->alternative.in(*entry.request);
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
        if (value.data() == nullptr && item.rare) value = item.rare->alternative.in(entry.response->headers);
      }
      return to.value(cut(value, length));
    }
    case Op::kProtocol: return to.text(info.protocol);
    case Op::kResponseCode: return to.number(info.response_code);
    case Op::kResponseFlags:
      // ENVOY: none is "-" in every style.
      return info.flags == 0 ? to.plain("-") : to.plain(http::flags_text(info.flag_order));
    case Op::kResponseFlagsLong: return info.flags == 0 ? to.plain("-") : to.plain(http::flags_words(info.flag_order));
    case Op::kResponseCodeDetails: return to.details(info.details);
    case Op::kConnectionTerminationDetails: return to.text(info.termination_details);
    case Op::kUpstreamTransportFailureReason: return to.details(info.upstream_failure);
    case Op::kBytesReceived: return to.number(info.bytes_received);
    case Op::kBytesSent: return to.number(info.bytes_sent);
    case Op::kDuration: return to.number((info.end_ns - info.start_ns) / 1000000);
    case Op::kRequestDuration: return milliseconds(to, info.start_ns, info.request_end_ns);
    case Op::kResponseDuration: return milliseconds(to, info.start_ns, info.response_start_ns);
    case Op::kResponseTxDuration: return milliseconds(to, info.response_start_ns, info.end_ns);
    case Op::kLogType: return to.plain(entry.tcp ? "TcpConnectionEnd" : "DownstreamEnd");
    case Op::kUpstreamHost: return to.text(info.upstream_host);
    case Op::kUpstreamHostWithoutPort: return to.text(split_host(info.upstream_host).first);
    case Op::kUpstreamHostPort: {
      std::string_view port = split_host(info.upstream_host).second;
      return port.empty() ? to.absent() : void(out += port);
    }
    // ENVOY: the first is the name in metrics.
    case Op::kUpstreamCluster:
      return to.text(info.cluster_stat_name.empty() ? info.cluster_name : info.cluster_stat_name);
    case Op::kUpstreamClusterRaw: return to.text(info.cluster_name);
    case Op::kUpstreamProtocol: return to.text(info.upstream_protocol);
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
    case Op::kPeerDnsSan: return to.list(info.tls ? &info.tls->peer_dns_sans : nullptr);
    case Op::kPeerFingerprint: return to.text(info.tls ? std::string_view(info.tls->peer_sha256) : "");
    case Op::kLocalUriSan: return to.list(info.tls ? &info.tls->local_uri_sans : nullptr);
    case Op::kPeerSubject: return to.text(info.tls ? std::string_view(info.tls->peer_subject) : "");
    case Op::kTlsVersion: return to.text(info.tls ? std::string_view(info.tls->version) : "");
    case Op::kTlsCipher: return to.text(info.tls ? std::string_view(info.tls->cipher) : "");
  }
}

}  // namespace pinnace::access_log
