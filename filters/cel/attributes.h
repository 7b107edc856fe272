// The attributes that expressions may name: Envoy's, as far as a request's or connection's end knows them. Pure.
#pragma once

#include <optional>
#include <string_view>

#include "filters/cel/value.h"
#include "filters/istio/workload.h"
#include "proxy/http/stream_info.h"

namespace pinnace::filters::cel {

enum class Attribute : uint8_t {
  kRequestPath,
  kRequestUrlPath,
  kRequestHost,
  kRequestScheme,
  kRequestMethod,
  kRequestReferer,
  kRequestUserAgent,
  kRequestId,
  kRequestProtocol,
  kRequestQuery,
  kRequestSize,
  kRequestHeader,  // with a name
  kResponseCode,
  kResponseCodeDetails,
  kResponseGrpcStatus,
  kResponseSize,
  kResponseHeader,  // with a name
  kSourceAddress,
  kSourcePort,
  kDestinationAddress,
  kDestinationPort,
  kConnectionMtls,
  kConnectionServerName,
  kConnectionTlsVersion,
  kConnectionUriSanLocal,
  kConnectionUriSanPeer,
  kConnectionDnsSanPeer,
  kConnectionSubjectPeer,
  kConnectionSha256Peer,
  kConnectionTermination,
  kUpstreamAddress,
  kUpstreamPort,
  kUpstreamLocalAddress,
  kUpstreamFailure,
  kUpstreamAttempts,
  kClusterName,
  kRouteName,
  kDownstreamPeer,  // with the name of a field
  kUpstreamPeer,    // likewise
};

// What evaluation looks at. Pointers may be nullptr: such attributes are errors then. LIFETIME: the call's.
struct Facts {
  const http::StreamInfo& info;
  const http::RequestHead* request = nullptr;
  const http::ResponseHead* response = nullptr;
  int grpc_status = -1;  // -1: none
  const istio::Workload* downstream_peer = nullptr;
  const istio::Workload* upstream_peer = nullptr;
};

// "request.path" → kRequestPath; "request.headers" → kRequestHeader. Nothing: no such attribute here.
std::optional<Attribute> attribute_named(std::string_view path);
// Whether the attribute is a map that is looked into by a name.
bool takes_name(Attribute attribute);
// `name`: of takes_name(); lower case for headers. The text lives as long as what `facts` points to, or in `scratch`.
Value value_of(Attribute attribute, std::string_view name, const Facts& facts, std::string& scratch);

}  // namespace pinnace::filters::cel
