#include "filters/http/alpn/compile.h"

#include "filters/http/alpn/alpn.h"
#include "istio/alpn.pb.h"

namespace pinnace::filters::alpn {
namespace {

using pb = ::istio::envoy::config::filter::http::alpn::v2alpha1::FilterConfig;

}  // namespace

Result<std::shared_ptr<const filter::HttpFilterConfig>> compile(const google::protobuf::Any& any, compile::Context&) {
  pb proto;
  if (!any.UnpackTo(&proto)) return error("typed_config does not parse");
  filter::AlpnByProtocol overrides;
  for (const auto& one : proto.alpn_override()) {
    if (!pb::Protocol_IsValid(one.upstream_protocol())) return error("alpn_override.upstream_protocol: not known");
    std::string& list = overrides[static_cast<size_t>(one.upstream_protocol())];  // the same order as http::Protocol
    for (const auto& name : one.alpn_override()) {
      if (name.empty() || name.size() > 255 || name.find(',') != std::string::npos) {
        return error("alpn_override.alpn_override: '" + name + "' is no protocol name");
      }
      list += (list.empty() ? "" : ",") + name;
    }
  }
  return std::shared_ptr<const filter::HttpFilterConfig>(std::make_shared<AlpnConfig>(std::move(overrides)));
}

}  // namespace pinnace::filters::alpn
