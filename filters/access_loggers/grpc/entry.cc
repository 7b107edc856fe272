#include "filters/access_loggers/grpc/entry.h"

#include <algorithm>
#include <charconv>

#include "proxy/base/utf8.h"

namespace pinnace::filters::grpc_access_log {
namespace {

namespace pb = envoy::data::accesslog::v3;
using access_log::Entry;
using http::HeaderId;

// ENVOY: a receiver refuses a message whose strings are no UTF-8, and with it the entries of others.
std::string text(std::string_view value) { return base::is_utf8(value) ? std::string(value) : base::to_utf8(value); }

void set_address(const base::Address& from, envoy::config::core::v3::Address& to) {
  if (from.is_ip()) {
    to.mutable_socket_address()->set_address(from.ip_text());
    to.mutable_socket_address()->set_port_value(from.port());
  } else if (from.kind() == base::Address::Kind::kPipe) {
    to.mutable_pipe()->set_path(from.path());
  }
}

// "1.2.3.4:80" and "[::1]:80".
void set_address(std::string_view host, envoy::config::core::v3::Address& to) {
  size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.front() == '/') {
    if (!host.empty()) to.mutable_pipe()->set_path(std::string(host));
    return;
  }
  std::string_view ip = host.substr(0, colon);
  if (ip.size() > 2 && ip.front() == '[') ip = ip.substr(1, ip.size() - 2);
  uint32_t port = 0;
  std::from_chars(host.data() + colon + 1, host.data() + host.size(), port);
  to.mutable_socket_address()->set_address(std::string(ip));
  to.mutable_socket_address()->set_port_value(port);
}

constexpr uint64_t kSecond = 1000000000;

void set_duration(uint64_t ns, google::protobuf::Duration& to) {
  to.set_seconds(static_cast<int64_t>(ns / kSecond));
  to.set_nanos(static_cast<int32_t>(ns % kSecond));
}

void set_flags(const http::StreamInfo& info, pb::ResponseFlags& to) {
  using Set = void (pb::ResponseFlags::*)(bool);
  static constexpr std::pair<http::Flag, Set> kFlags[] = {
      {http::Flag::kNoHealthyUpstream, &pb::ResponseFlags::set_no_healthy_upstream},
      {http::Flag::kUpstreamConnectionFailure, &pb::ResponseFlags::set_upstream_connection_failure},
      {http::Flag::kUpstreamOverflow, &pb::ResponseFlags::set_upstream_overflow},
      {http::Flag::kNoRouteFound, &pb::ResponseFlags::set_no_route_found},
      {http::Flag::kUpstreamRetryLimitExceeded, &pb::ResponseFlags::set_upstream_retry_limit_exceeded},
      {http::Flag::kNoClusterFound, &pb::ResponseFlags::set_no_cluster_found},
      {http::Flag::kDownstreamTermination, &pb::ResponseFlags::set_downstream_connection_termination},
      {http::Flag::kUpstreamRemoteReset, &pb::ResponseFlags::set_upstream_remote_reset},
      {http::Flag::kUpstreamTermination, &pb::ResponseFlags::set_upstream_connection_termination},
      {http::Flag::kLocalReset, &pb::ResponseFlags::set_local_reset},
      {http::Flag::kUpstreamTimeout, &pb::ResponseFlags::set_upstream_request_timeout},
      {http::Flag::kDurationTimeout, &pb::ResponseFlags::set_duration_timeout},
      {http::Flag::kStreamIdleTimeout, &pb::ResponseFlags::set_stream_idle_timeout},
      {http::Flag::kDownstreamProtocolError, &pb::ResponseFlags::set_downstream_protocol_error},
      {http::Flag::kUpstreamProtocolError, &pb::ResponseFlags::set_upstream_protocol_error},
      {http::Flag::kMaxStreamDuration, &pb::ResponseFlags::set_upstream_max_stream_duration_reached},
      {http::Flag::kOverloadManager, &pb::ResponseFlags::set_overload_manager},
      {http::Flag::kNoFilterConfigFound, &pb::ResponseFlags::set_no_filter_config_found},
      {http::Flag::kDownstreamRemoteReset, &pb::ResponseFlags::set_downstream_remote_reset},
  };
  static_assert(std::size(kFlags) == static_cast<size_t>(http::Flag::kCount));
  for (const auto& [flag, set] : kFlags) {
    if (info.has(flag)) (to.*set)(true);
  }
}

void set_tls(const http::StreamInfo& info, pb::TLSProperties& to) {
  const net::TlsInfo& tls = *info.tls;
  to.set_tls_sni_hostname(text(info.requested_server_name.empty() ? tls.sni : info.requested_server_name));
  if (tls.version == "TLSv1.3") to.set_tls_version(pb::TLSProperties::TLSv1_3);
  if (tls.version == "TLSv1.2") to.set_tls_version(pb::TLSProperties::TLSv1_2);
  for (const auto& uri : tls.local_uri_sans) {
    to.mutable_local_certificate_properties()->add_subject_alt_name()->set_uri(text(uri));
  }
  auto* peer = to.mutable_peer_certificate_properties();
  for (const auto& uri : tls.peer_uri_sans) peer->add_subject_alt_name()->set_uri(text(uri));
  peer->set_subject(text(tls.peer_subject));
}

void fill_common(const Entry& entry, pb::AccessLogCommon& out) {
  const http::StreamInfo& info = entry.info;
  set_address(info.remote_address, *out.mutable_downstream_remote_address());
  if (info.direct_remote_address) {
    set_address(*info.direct_remote_address, *out.mutable_downstream_direct_remote_address());
  }
  if (info.local_address) set_address(*info.local_address, *out.mutable_downstream_local_address());
  if (info.tls) set_tls(info, *out.mutable_tls_properties());
  out.mutable_start_time()->set_seconds(static_cast<int64_t>(info.start_wall_ns / kSecond));
  out.mutable_start_time()->set_nanos(static_cast<int32_t>(info.start_wall_ns % kSecond));
  set_duration(info.end_ns - info.start_ns, *out.mutable_duration());
  if (info.upstream_sent_ns >= info.start_ns) {
    set_duration(info.upstream_sent_ns - info.start_ns, *out.mutable_time_to_first_upstream_tx_byte());
  }
  if (!info.upstream_host.empty()) set_address(info.upstream_host, *out.mutable_upstream_remote_address());
  if (info.upstream_local_address.kind() != base::Address::Kind::kNone) {
    set_address(info.upstream_local_address, *out.mutable_upstream_local_address());
  }
  out.set_upstream_cluster(std::string(info.cluster_name));
  out.set_route_name(std::string(info.route_name));
  std::string failure(info.upstream_failure);
  if (failure.starts_with("delayed_connect_error")) std::replace(failure.begin(), failure.end(), '_', ' ');
  out.set_upstream_transport_failure_reason(text(failure));
  out.set_upstream_request_attempt_count(info.attempts);
  out.set_connection_termination_details(std::string(info.termination_details));
  if (info.flags != 0) set_flags(info, *out.mutable_response_flags());
}

envoy::config::core::v3::RequestMethod method_of(std::string_view text) {
  envoy::config::core::v3::RequestMethod method;
  return envoy::config::core::v3::RequestMethod_Parse(std::string(text), &method)
             ? method
             : envoy::config::core::v3::METHOD_UNSPECIFIED;
}

// Pseudo-headers are no fields here.
std::string_view pseudo(const http::RequestHead& head, std::string_view name) {
  if (name == ":method") return head.method;
  if (name == ":path") return head.path;
  if (name == ":authority" || name == "host") return head.authority;
  if (name == ":scheme") return head.scheme;
  return {};
}

// All fields of a name as one value.
template <class Map>
void add_headers(const std::vector<std::string>& names, const http::HeaderMap& from, Map& to) {
  for (const auto& name : names) {
    for (const http::Header& field : from) {
      if (field.name != name) continue;
      auto [at, fresh] = to.insert({name, text(field.value)});
      if (!fresh) at->second += "," + text(field.value);
    }
  }
}

void fill_request(const http::RequestHead& head, const http::StreamInfo& info,
                  const std::vector<std::string>& additional, pb::HTTPRequestProperties& out) {
  out.set_request_method(method_of(head.method));
  out.set_scheme(text(head.scheme));
  out.set_authority(text(head.authority));
  out.set_path(text(head.path));
  out.set_user_agent(text(head.headers.get(HeaderId::kUserAgent)));
  if (const auto* referer = head.headers.find("referer")) out.set_referer(text(referer->value));
  out.set_forwarded_for(text(head.headers.get(HeaderId::kForwardedFor)));
  out.set_request_id(text(head.headers.get(HeaderId::kRequestId)));
  if (const auto* path = head.headers.find("x-envoy-original-path")) out.set_original_path(text(path->value));
  uint64_t bytes = 0;
  for (std::string_view name : {":method", ":scheme", ":authority", ":path"}) {
    std::string_view value = pseudo(head, name);
    if (!value.empty()) bytes += name.size() + value.size();
  }
  for (const auto& field : head.headers) bytes += field.name.size() + field.value.size();
  out.set_request_headers_bytes(bytes);
  out.set_request_body_bytes(info.bytes_received);
  for (const auto& name : additional) {
    if (std::string_view value = pseudo(head, name); !value.empty()) {
      (*out.mutable_request_headers())[name] = text(value);
    }
  }
  add_headers(additional, head.headers, *out.mutable_request_headers());
}

void fill_response(const http::ResponseHead* head, const http::StreamInfo& info,
                   const std::vector<std::string>& additional, pb::HTTPResponseProperties& out) {
  if (info.response_code != 0) out.mutable_response_code()->set_value(info.response_code);
  out.set_response_code_details(text(info.details));
  out.set_response_body_bytes(info.bytes_sent);
  if (!head) return;
  uint64_t bytes = std::string_view(":status200").size();
  for (const auto& field : head->headers) bytes += field.name.size() + field.value.size();
  out.set_response_headers_bytes(bytes);
  if (std::find(additional.begin(), additional.end(), ":status") != additional.end()) {
    (*out.mutable_response_headers())[":status"] = std::to_string(head->status);
  }
  add_headers(additional, head->headers, *out.mutable_response_headers());
}

}  // namespace

void fill(const Entry& entry, const AdditionalHeaders& additional, pb::HTTPAccessLogEntry& out) {
  fill_common(entry, *out.mutable_common_properties());
  out.mutable_common_properties()->set_access_log_type(pb::DownstreamEnd);
  const http::StreamInfo& info = entry.info;
  if (info.protocol == "HTTP/1.0") out.set_protocol_version(pb::HTTPAccessLogEntry::HTTP10);
  if (info.protocol == "HTTP/1.1") out.set_protocol_version(pb::HTTPAccessLogEntry::HTTP11);
  if (info.protocol == "HTTP/2") out.set_protocol_version(pb::HTTPAccessLogEntry::HTTP2);
  if (entry.request) {
    fill_request(*entry.request, info, additional.request, *out.mutable_request());
    out.mutable_common_properties()->set_stream_id(out.request().request_id());
  }
  fill_response(entry.response, info, additional.response, *out.mutable_response());
  if (entry.trailers)
    add_headers(additional.trailers, *entry.trailers, *out.mutable_response()->mutable_response_trailers());
}

void fill(const Entry& entry, pb::TCPAccessLogEntry& out) {
  fill_common(entry, *out.mutable_common_properties());
  out.mutable_common_properties()->set_access_log_type(pb::TcpConnectionEnd);
  out.mutable_connection_properties()->set_received_bytes(entry.info.bytes_received);
  out.mutable_connection_properties()->set_sent_bytes(entry.info.bytes_sent);
}

}  // namespace pinnace::filters::grpc_access_log
