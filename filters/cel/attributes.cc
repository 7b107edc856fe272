#include "filters/cel/attributes.h"

#include <algorithm>
#include <charconv>
#include <iterator>

namespace pinnace::filters::cel {
namespace {

constexpr std::pair<std::string_view, Attribute> kNames[] = {
    {"request.path", Attribute::kRequestPath},
    {"request.url_path", Attribute::kRequestUrlPath},
    {"request.host", Attribute::kRequestHost},
    {"request.scheme", Attribute::kRequestScheme},
    {"request.method", Attribute::kRequestMethod},
    {"request.referer", Attribute::kRequestReferer},
    {"request.useragent", Attribute::kRequestUserAgent},
    {"request.id", Attribute::kRequestId},
    {"request.protocol", Attribute::kRequestProtocol},
    {"request.query", Attribute::kRequestQuery},
    {"request.size", Attribute::kRequestSize},
    {"request.headers", Attribute::kRequestHeader},
    {"response.code", Attribute::kResponseCode},
    {"response.code_details", Attribute::kResponseCodeDetails},
    {"response.grpc_status", Attribute::kResponseGrpcStatus},
    {"response.size", Attribute::kResponseSize},
    {"response.headers", Attribute::kResponseHeader},
    {"source.address", Attribute::kSourceAddress},
    {"source.port", Attribute::kSourcePort},
    {"destination.address", Attribute::kDestinationAddress},
    {"destination.port", Attribute::kDestinationPort},
    {"connection.mtls", Attribute::kConnectionMtls},
    {"connection.requested_server_name", Attribute::kConnectionServerName},
    {"connection.tls_version", Attribute::kConnectionTlsVersion},
    {"connection.uri_san_local_certificate", Attribute::kConnectionUriSanLocal},
    {"connection.uri_san_peer_certificate", Attribute::kConnectionUriSanPeer},
    {"connection.dns_san_peer_certificate", Attribute::kConnectionDnsSanPeer},
    {"connection.subject_peer_certificate", Attribute::kConnectionSubjectPeer},
    {"connection.sha256_peer_certificate_digest", Attribute::kConnectionSha256Peer},
    {"connection.termination_details", Attribute::kConnectionTermination},
    {"upstream.address", Attribute::kUpstreamAddress},
    {"upstream.port", Attribute::kUpstreamPort},
    {"upstream.local_address", Attribute::kUpstreamLocalAddress},
    {"upstream.transport_failure_reason", Attribute::kUpstreamFailure},
    {"upstream.request_attempt_count", Attribute::kUpstreamAttempts},
    {"xds.cluster_name", Attribute::kClusterName},
    {"xds.route_name", Attribute::kRouteName},
    {"filter_state.downstream_peer", Attribute::kDownstreamPeer},
    {"filter_state.upstream_peer", Attribute::kUpstreamPeer},
};

// ENVOY: what is not there is no value, which is an error where one is needed.
Value there(std::string_view text) { return text.data() ? Value::of(text) : Value::error(); }
Value filled(std::string_view text) { return text.empty() ? Value::error() : Value::of(text); }

// ENVOY: all fields of a name as one value.
Value header(const http::HeaderMap& fields, std::string_view name, std::string& scratch) {
  const http::Header* first = nullptr;
  bool more = false;
  for (const http::Header& field : fields) {
    if (field.name != name) continue;
    if (!first) {
      first = &field;
      continue;
    }
    if (!std::exchange(more, true)) scratch = first->value;
    scratch.append(",").append(field.value);
  }
  if (!first) return Value::error();
  return Value::of(more ? std::string_view(scratch) : first->value);
}

Value request_header(const http::RequestHead& head, std::string_view name, std::string& scratch) {
  if (name == ":method") return there(head.method);
  if (name == ":path") return there(head.path);
  if (name == ":authority" || name == "host") return there(head.authority);
  if (name == ":scheme") return there(head.scheme);
  return header(head.headers, name, scratch);
}

Value address(const base::Address* address, std::string& scratch) {
  if (!address || address->kind() == base::Address::Kind::kNone) return Value::error();
  scratch = address->text();
  return Value::of(std::string_view(scratch));
}

Value port(const base::Address* address) {
  if (!address || !address->is_ip()) return Value::error();
  return Value::of(int64_t{address->port()});
}

Value first(const std::vector<std::string>& list) { return list.empty() ? Value::error() : Value::of(list.front()); }

Value peer_field(const istio::Workload* peer, std::string_view field) {
  if (!peer) return Value::error();
  static constexpr std::pair<std::string_view, std::string istio::Workload::*> kFields[] = {
      {"name", &istio::Workload::instance},
      {"namespace", &istio::Workload::namespace_name},
      {"workload", &istio::Workload::name},
      {"type", &istio::Workload::type},
      {"cluster", &istio::Workload::cluster},
      {"identity", &istio::Workload::identity},
      {"service", &istio::Workload::canonical_name},
      {"revision", &istio::Workload::canonical_revision},
      {"app", &istio::Workload::app},
      {"version", &istio::Workload::version},
      {"region", &istio::Workload::region},
      {"availability_zone", &istio::Workload::zone},
  };
  for (const auto& [name, member] : kFields) {
    if (name == field) return filled(peer->*member);
  }
  if (field.substr(0, 7) == "labels.") field.remove_prefix(7);
  auto more = peer->more.find(std::string(field));
  return more == peer->more.end() ? Value::error() : Value::of(more->second);
}

Value from_tls(Attribute attribute, const http::StreamInfo& info) {
  if (attribute == Attribute::kConnectionMtls) {
    return Value::of(info.tls != nullptr && info.tls->peer_certificate_presented);
  }
  if (attribute == Attribute::kConnectionServerName) {
    if (!info.requested_server_name.empty() || !info.tls) return there(info.requested_server_name);
    return Value::of(info.tls->sni);
  }
  if (!info.tls) return Value::error();
  switch (attribute) {
    case Attribute::kConnectionTlsVersion: return Value::of(info.tls->version);
    case Attribute::kConnectionUriSanLocal: return first(info.tls->local_uri_sans);
    case Attribute::kConnectionUriSanPeer: return first(info.tls->peer_uri_sans);
    case Attribute::kConnectionDnsSanPeer: return first(info.tls->peer_dns_sans);
    case Attribute::kConnectionSubjectPeer: return filled(info.tls->peer_subject);
    default: return filled(info.tls->peer_sha256);
  }
}

Value from_request(Attribute attribute, std::string_view name, const http::RequestHead& head, std::string& scratch) {
  size_t question = head.path.find('?');
  switch (attribute) {
    case Attribute::kRequestPath: return there(head.path);
    case Attribute::kRequestUrlPath: return there(head.path.substr(0, question));
    case Attribute::kRequestQuery:
      return Value::of(question == std::string_view::npos ? std::string_view("") : head.path.substr(question + 1));
    case Attribute::kRequestHost: return there(head.authority);
    case Attribute::kRequestScheme: return there(head.scheme);
    case Attribute::kRequestMethod: return there(head.method);
    case Attribute::kRequestReferer: return header(head.headers, "referer", scratch);
    case Attribute::kRequestUserAgent: return header(head.headers, "user-agent", scratch);
    case Attribute::kRequestId: return header(head.headers, "x-request-id", scratch);
    default: return request_header(head, name, scratch);
  }
}

}  // namespace

std::optional<Attribute> attribute_named(std::string_view path) {
  const auto* found =
      std::find_if(std::begin(kNames), std::end(kNames), [&](const auto& e) { return e.first == path; });
  if (found == std::end(kNames)) return std::nullopt;
  return found->second;
}

bool takes_name(Attribute attribute) {
  return attribute == Attribute::kRequestHeader || attribute == Attribute::kResponseHeader ||
         attribute == Attribute::kDownstreamPeer || attribute == Attribute::kUpstreamPeer;
}

Value value_of(Attribute attribute, std::string_view name, const Facts& facts, std::string& scratch) {
  const http::StreamInfo& info = facts.info;
  auto integer = [](uint64_t value) { return Value::of(static_cast<int64_t>(value)); };
  switch (attribute) {
    case Attribute::kRequestProtocol: return filled(info.protocol);
    case Attribute::kRequestSize: return facts.request ? integer(info.bytes_received) : Value::error();
    case Attribute::kResponseCode: return info.response_code ? integer(info.response_code) : Value::error();
    case Attribute::kResponseCodeDetails: return filled(info.details);
    case Attribute::kResponseGrpcStatus:
      return facts.grpc_status < 0 ? Value::error() : Value::of(int64_t{facts.grpc_status});
    case Attribute::kResponseSize: return facts.request ? integer(info.bytes_sent) : Value::error();
    case Attribute::kResponseHeader:
      return facts.response ? header(facts.response->headers, name, scratch) : Value::error();
    case Attribute::kSourceAddress: return address(&info.remote_address, scratch);
    case Attribute::kSourcePort: return port(&info.remote_address);
    case Attribute::kDestinationAddress: return address(info.local_address, scratch);
    case Attribute::kDestinationPort: return port(info.local_address);
    case Attribute::kConnectionMtls:
    case Attribute::kConnectionServerName:
    case Attribute::kConnectionTlsVersion:
    case Attribute::kConnectionUriSanLocal:
    case Attribute::kConnectionUriSanPeer:
    case Attribute::kConnectionDnsSanPeer:
    case Attribute::kConnectionSubjectPeer:
    case Attribute::kConnectionSha256Peer: return from_tls(attribute, info);
    case Attribute::kConnectionTermination: return filled(info.termination_details);
    case Attribute::kUpstreamAddress: return filled(info.upstream_host);
    case Attribute::kUpstreamPort: {
      size_t colon = info.upstream_host.rfind(':');
      int64_t number = 0;
      if (colon == std::string_view::npos) return Value::error();
      std::string_view text = info.upstream_host.substr(colon + 1);
      auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
      return parsed.ec == std::errc() ? Value::of(number) : Value::error();
    }
    case Attribute::kUpstreamLocalAddress: return address(&info.upstream_local_address, scratch);
    case Attribute::kUpstreamFailure: return filled(info.upstream_failure);
    case Attribute::kUpstreamAttempts: return Value::of(uint64_t{info.attempts});
    case Attribute::kClusterName: return filled(info.cluster_name);
    case Attribute::kRouteName: return filled(info.route_name);
    case Attribute::kDownstreamPeer: return peer_field(facts.downstream_peer, name);
    case Attribute::kUpstreamPeer: return peer_field(facts.upstream_peer, name);
    default: return facts.request ? from_request(attribute, name, *facts.request, scratch) : Value::error();
  }
}

}  // namespace pinnace::filters::cel
