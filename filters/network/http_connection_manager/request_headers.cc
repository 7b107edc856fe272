#include "filters/network/http_connection_manager/request_headers.h"

#include <time.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "tls/websocket_accept.h"

namespace pinnace::filters::hcm {
namespace {

using http::HeaderId;
using http::HeaderMap;

// RFC 9110 7.6.1: fields for this connection only, and those that "connection" names.
void remove_hop_by_hop(HeaderMap& headers, bool request) {
  if (headers.has(HeaderId::kConnection)) {
    std::string_view list;
    headers.joined(HeaderId::kConnection, headers.arena(), list);
    while (!list.empty()) {
      size_t comma = list.find(',');
      std::string_view token = http::trim(list.substr(0, comma));
      char lower[64];
      if (!token.empty() && token.size() <= sizeof lower) {
        for (size_t i = 0; i < token.size(); i++) {
          lower[i] = token[i] >= 'A' && token[i] <= 'Z' ? static_cast<char>(token[i] | 0x20) : token[i];
        }
        std::string_view name{lower, token.size()};
        // A client cannot take away what the proxy itself relies on.
        HeaderId id = http::header_id(name);
        bool protected_field = id == HeaderId::kHost || id == HeaderId::kForwardedFor ||
                               id == HeaderId::kForwardedProto || id == HeaderId::kForwardedClientCert ||
                               id == HeaderId::kForwardedHost || id == HeaderId::kTransferEncoding;
        if (!protected_field && name != "close" && name != "keep-alive" && name != "te") headers.remove(name);
      }
      if (comma == std::string_view::npos) break;
      list.remove_prefix(comma + 1);
    }
    headers.remove(HeaderId::kConnection);
  }
  headers.remove(HeaderId::kTransferEncoding);
  headers.remove(HeaderId::kKeepAlive);
  headers.remove(HeaderId::kProxyConnection);
  headers.remove(HeaderId::kUpgrade);
  headers.remove(HeaderId::kHttp2Settings);
  if (request && headers.has(HeaderId::kTe)) {
    // ENVOY: "te: trailers" survives, everything else in TE does not.
    bool trailers = http::contains_token(headers.get(HeaderId::kTe), "trailers");
    headers.remove(HeaderId::kTe);
    if (trailers) headers.add(HeaderId::kTe, "trailers");
  }
}

void set_number(HeaderMap& headers, HeaderId id, uint16_t number) {
  char* digits = headers.arena().take_chars(5);
  char* end = std::to_chars(digits, digits + 5, number).ptr;
  headers.set(id, {digits, static_cast<size_t>(end - digits)});
}

// Version 4 UUID, RFC 9562. ENVOY: the fifteenth character may later carry the trace decision; '4' means none.
std::string_view new_request_id(base::Rng& rng, base::Arena& arena) {
  static constexpr char kHex[] = "0123456789abcdef";
  uint64_t bits[2] = {rng.next(), rng.next()};
  bits[0] = (bits[0] & ~0xf000ull) | 0x4000ull;
  bits[1] = (bits[1] & ~(0xc0ull << 56)) | (0x80ull << 56);
  char* out = arena.take_chars(36);
  char* at = out;
  for (int i = 0; i < 32; i++) {
    if (i == 8 || i == 12 || i == 16 || i == 20) *at++ = '-';
    uint64_t word = bits[i / 16];
    *at++ = kHex[(word >> (60 - 4 * (i % 16))) & 15];
  }
  return {out, 36};
}

// The `back`-th address from the end of x-forwarded-for (0: the last); false when there is none or it is no address.
bool forwarded_address(std::string_view list, uint32_t back, base::Address& out) {
  for (;;) {
    size_t comma = list.rfind(',');
    std::string_view last = http::trim(comma == std::string_view::npos ? list : list.substr(comma + 1));
    if (back == 0) {
      auto parsed = base::Address::ip(last, 0);
      if (!parsed) return false;
      out = *parsed;
      return true;
    }
    if (comma == std::string_view::npos) return false;
    list = list.substr(0, comma);
    back--;
  }
}

bool is_internal(const Settings& settings, const base::Address& address) {
  return std::any_of(settings.internal_ranges.begin(), settings.internal_ranges.end(),
                     [&](const base::Cidr& range) { return range.contains(address); });
}

// ENVOY: what only an internal client may say. Without internal_address_config nobody is internal (CVE-2024-45806).
constexpr HeaderId kInternalOnly[] = {HeaderId::kEnvoyInternal,
                                      HeaderId::kEnvoyRetryOn,
                                      HeaderId::kEnvoyRetryGrpcOn,
                                      HeaderId::kEnvoyMaxRetries,
                                      HeaderId::kEnvoyUpstreamTimeout,
                                      HeaderId::kEnvoyPerTryTimeout,
                                      HeaderId::kEnvoyExpectedTimeout,
                                      HeaderId::kEnvoyUpstreamAltStatName,
                                      HeaderId::kEnvoyTimeoutAltResponse,
                                      HeaderId::kEnvoyRetriableStatusCodes,
                                      HeaderId::kEnvoyRetriableHeaderNames,
                                      HeaderId::kEnvoyHedgeOnPerTryTimeout,
                                      HeaderId::kEnvoyForceTrace,
                                      HeaderId::kEnvoyIpTags};
// And what an edge proxy takes out besides.
constexpr HeaderId kNotFromOutside[] = {HeaderId::kEnvoyOriginalPath, HeaderId::kEnvoyDecoratorOperation,
                                        HeaderId::kEnvoyDownstreamServiceCluster, HeaderId::kEnvoyDownstreamServiceNode,
                                        HeaderId::kEnvoyOriginalHost};

std::string client_cert_element(const Settings& settings, const net::TlsInfo& tls) {
  std::string out;
  auto field = [&](std::string_view text) {
    if (!out.empty()) out += ';';
    out += text;
  };
  for (const auto& san : tls.local_uri_sans) field("By=" + san);
  field("Hash=" + tls.peer_sha256);
  if (settings.cert_pem && !tls.peer_certificate.empty()) field("Cert=\"" + tls.peer_certificate + "\"");
  if (settings.cert_chain && !tls.peer_chain.empty()) field("Chain=\"" + tls.peer_chain + "\"");
  if (settings.cert_subject) {
    std::string subject;
    for (char c : tls.peer_subject) {
      if (c == '"' || c == '\\') subject += '\\';
      subject += c;
    }
    field("Subject=\"" + subject + "\"");
  }
  if (settings.cert_uri) {
    for (const auto& san : tls.peer_uri_sans) field("URI=" + san);
    if (tls.peer_uri_sans.empty()) field("URI=");
  }
  if (settings.cert_dns) {
    for (const auto& san : tls.peer_dns_sans) field("DNS=" + san);
  }
  return out;
}

void mutate_client_cert(HeaderMap& headers, const Settings& settings, const net::TlsInfo* tls, std::string& made) {
  // ENVOY: without mTLS only ALWAYS_FORWARD_ONLY lets the client's claim through.
  bool mutual = tls && tls->peer_certificate_presented;
  if (settings.client_cert == ForwardClientCert::kAlwaysForwardOnly) return;
  if (settings.client_cert == ForwardClientCert::kSanitize || !mutual)
    return headers.remove(HeaderId::kForwardedClientCert);
  if (settings.client_cert == ForwardClientCert::kForwardOnly) return;
  if (made.empty()) made = client_cert_element(settings, *tls);
  std::string_view element = headers.arena().copy(made);
  if (settings.client_cert == ForwardClientCert::kAppendForward) {
    headers.append_to(HeaderId::kForwardedClientCert, ",", element);
  } else {
    headers.set(HeaderId::kForwardedClientCert, element);
  }
}

// CVE-2023-35944: what routing and the upstream see is one of two spellings; empty for anything else.
std::string_view known_scheme(std::string_view said) {
  if (http::equals_ignore_case(said, "http")) return "http";
  return http::equals_ignore_case(said, "https") ? std::string_view("https") : std::string_view();
}

std::string_view http_date(uint64_t wall_ns) {
  thread_local uint64_t last = 0;
  thread_local char text[32];
  thread_local size_t size = 0;
  uint64_t second = wall_ns / 1000000000;
  if (second != last) {
    last = second;
    auto when = static_cast<time_t>(second);
    tm utc{};
    gmtime_r(&when, &utc);
    size = strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
  }
  return {text, size};
}

// ENVOY: with tracing, the 15th digit of a UUID in x-request-id says why its request is traced: 4 not at all, 9
// sampled, a forced by a service, b by the client.
constexpr size_t kUuidLength = 36, kTraceDigit = 14;
constexpr char kNotTraced = '4', kSampled = '9', kByService = 'a', kByClient = 'b';

void set_trace_digit(HeaderMap& headers, char reason) {
  std::string_view id = headers.get(HeaderId::kRequestId);
  if (id.size() != kUuidLength || id[kTraceDigit] == reason) return;
  char* copy = headers.arena().take_chars(kUuidLength);
  std::memcpy(copy, id.data(), kUuidLength);
  copy[kTraceDigit] = reason;
  headers.set(HeaderId::kRequestId, {copy, kUuidLength});
}

void mark_request_id(HeaderMap& headers, const Settings& settings) {
  std::string_view id = headers.get(HeaderId::kRequestId);
  uint32_t number = 0;
  if (id.size() != kUuidLength || std::from_chars(id.data(), id.data() + 8, number, 16).ptr != id.data() + 8) return;
  char reason = id[kTraceDigit];
  auto traced = [&] { return reason == kSampled || reason == kByService || reason == kByClient; };
  uint32_t share = number % 10000;
  if (!traced()) {
    if (share < settings.client_sampling && headers.has(HeaderId::kClientTraceId)) reason = kByClient;
    else if (headers.has(HeaderId::kEnvoyForceTrace)) reason = kByService;
    else if (share < settings.random_sampling) reason = kSampled;
  }
  if (traced() && share >= settings.overall_sampling) reason = kNotTraced;
  set_trace_digit(headers, reason);
}

}  // namespace

void mutate_request(http::RequestHead& request, const Settings& settings, const net::Connection& downstream,
                    std::string& client_cert, base::Rng& rng, base::Address& remote) {
  HeaderMap& headers = request.headers;
  base::Arena& arena = headers.arena();
  const net::TlsInfo* tls = downstream.tls();
  remove_hop_by_hop(headers, true);
  if (!settings.proxy_100_continue && http::equals_ignore_case(headers.get(HeaderId::kExpect), "100-continue")) {
    headers.remove(HeaderId::kExpect);
  }

  // Who is the client? use_remote_address: the peer, or so many trusted hops before it; else what XFF says last.
  const base::Address& peer = downstream.remote_address();
  remote = peer;
  std::string_view forwarded;
  bool has_forwarded = headers.joined(HeaderId::kForwardedFor, arena, forwarded);
  if (has_forwarded) headers.set(HeaderId::kForwardedFor, forwarded);  // one line, whatever the client made of it
  // ENVOY: a client is internal by the one address that is known of it; more hops than one make nobody internal.
  bool internal = false;
  if (settings.use_remote_address) {
    if (settings.xff_trusted_hops > 0) {
      base::Address claimed;
      if (has_forwarded && forwarded_address(forwarded, settings.xff_trusted_hops - 1, claimed)) remote = claimed;
    }
    internal = !has_forwarded && is_internal(settings, remote);
    if (!settings.skip_xff_append && peer.is_ip()) {
      // ENVOY: a client on this machine is told by the machine's address.
      auto own = peer.is_loopback() ? std::string_view(settings.local_ip) : arena.copy(peer.ip_text());
      headers.append_to(HeaderId::kForwardedFor, ",", own);
    }
    if (settings.xff_trusted_hops == 0 || !headers.has(HeaderId::kForwardedProto)) {
      headers.set(HeaderId::kForwardedProto, tls ? "https" : "http");
    }
  } else {
    base::Address claimed;
    if (has_forwarded && forwarded_address(forwarded, settings.xff_trusted_hops, claimed)) {
      remote = claimed;
      internal = settings.xff_trusted_hops == 0 && forwarded.find(',') == std::string_view::npos &&
                 is_internal(settings, remote);
    }
    if (!headers.has(HeaderId::kForwardedProto)) headers.add(HeaderId::kForwardedProto, tls ? "https" : "http");
  }
  bool trusts_nobody = settings.use_remote_address && settings.xff_trusted_hops == 0;
  if (settings.append_forwarded_port && (trusts_nobody || !headers.has(HeaderId::kForwardedPort))) {
    set_number(headers, HeaderId::kForwardedPort, downstream.local_address().port());
  }
  bool edge = settings.use_remote_address && !internal;
  request.scheme = known_scheme(request.scheme);
  if (request.scheme.empty()) request.scheme = known_scheme(headers.get(HeaderId::kForwardedProto));
  if (request.scheme.empty()) request.scheme = tls ? "https" : "http";
  if (internal) {
    headers.set(HeaderId::kEnvoyInternal, "true");
  } else {
    for (HeaderId id : kInternalOnly) headers.remove(id);
  }
  if (edge) {
    for (HeaderId id : kNotFromOutside) headers.remove(id);
    headers.set(HeaderId::kEnvoyExternalAddress, arena.copy(remote.ip_text()));
  }
  if (edge && !settings.preserve_external_request_id) headers.remove(HeaderId::kRequestId);
  // ENVOY: an id from outside is kept without what it says of tracing.
  if (edge && settings.generate_request_id && settings.packs_trace_reason) set_trace_digit(headers, kNotTraced);
  if (settings.generate_request_id && !headers.has(HeaderId::kRequestId)) {
    headers.add(HeaderId::kRequestId, new_request_id(rng, arena));
  }
  if (settings.marks_request_id) mark_request_id(headers, settings);
  mutate_client_cert(headers, settings, tls, client_cert);
  if (!settings.via.empty()) headers.append_to(HeaderId::kVia, ", ", settings.via);
}

void mutate_response(http::ResponseHead& response, const Settings& settings, const http::RequestHead& request,
                     uint64_t wall_ns) {
  HeaderMap& headers = response.headers;
  remove_hop_by_hop(headers, false);
  if (!headers.has(HeaderId::kDate)) headers.add(HeaderId::kDate, headers.arena().copy(http_date(wall_ns)));
  if (settings.server_header == ServerHeader::kOverwrite) {
    headers.set(HeaderId::kServer, settings.server_name);
  } else if (settings.server_header == ServerHeader::kAppendIfAbsent && !headers.has(HeaderId::kServer)) {
    headers.add(HeaderId::kServer, settings.server_name);
  }
  bool wanted = settings.respond_with_request_id || request.headers.has(HeaderId::kEnvoyForceTrace);
  if (wanted && request.headers.has(HeaderId::kRequestId)) {
    headers.set(HeaderId::kRequestId, request.headers.get(HeaderId::kRequestId));
  }
  if (!settings.via.empty()) headers.append_to(HeaderId::kVia, ", ", settings.via);
  bool handshake = response.status == 101 && request.protocol != http::Protocol::kHttp2 &&
                   http::equals_ignore_case(request.upgrade, "websocket");
  if (handshake && !headers.find("sec-websocket-accept")) {
    const http::Header* key = request.headers.find("sec-websocket-key");
    if (key) headers.add("sec-websocket-accept", tls::websocket_accept(key->value, headers.arena()));
  }
}

void mutate_trailers(HeaderMap& trailers) {
  for (HeaderId id : {HeaderId::kHost, HeaderId::kContentLength, HeaderId::kTransferEncoding, HeaderId::kConnection,
                      HeaderId::kKeepAlive, HeaderId::kProxyConnection, HeaderId::kUpgrade, HeaderId::kTe}) {
    trailers.remove(id);
  }
}

}  // namespace pinnace::filters::hcm
