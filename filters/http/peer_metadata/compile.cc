#include "filters/http/peer_metadata/compile.h"

#include "filters/http/peer_metadata/peer_metadata.h"
#include "istio/peer_metadata.pb.h"
#include "proxy/base/base64.h"
#include "xds_client/compile/struct.h"

namespace pinnace::filters::peer_metadata {
namespace {

using pb = ::io::istio::http::peer_metadata::Config;

Result<bool> discovery(const google::protobuf::RepeatedPtrField<pb::DiscoveryMethod>& methods, bool& by_headers) {
  for (const auto& method : methods) {
    switch (method.method_specifier_case()) {
      case pb::DiscoveryMethod::kIstioHeaders: by_headers = true; break;
      case pb::DiscoveryMethod::kWorkloadDiscovery:  // without its bootstrap extension it knows nobody
      case pb::DiscoveryMethod::METHOD_SPECIFIER_NOT_SET: break;
      case pb::DiscoveryMethod::kBaggage: return error("baggage: not supported");
      case pb::DiscoveryMethod::kUpstreamFilterState: return error("upstream_filter_state: not supported");
    }
  }
  return true;
}

Result<bool> propagation(const google::protobuf::RepeatedPtrField<pb::PropagationMethod>& methods,
                         std::optional<PeerMetadataSettings::Propagation>& out) {
  for (const auto& method : methods) {
    if (method.has_baggage()) return error("baggage: not supported");
    if (method.has_istio_headers()) out = {.skip_external = method.istio_headers().skip_external_clusters()};
  }
  return true;
}

}  // namespace

Result<std::shared_ptr<const filter::HttpFilterConfig>> compile(const google::protobuf::Any& any,
                                                                compile::Context& context) {
  pb proto;
  if (!any.UnpackTo(&proto)) return error("typed_config does not parse");
  if (proto.shared_with_upstream()) return error("shared_with_upstream: not supported");
  PeerMetadataSettings settings;
  auto request = discovery(proto.downstream_discovery(), settings.from_request);
  if (!request) return compile::in("downstream_discovery", request.error());
  auto response = discovery(proto.upstream_discovery(), settings.from_response);
  if (!response) return compile::in("upstream_discovery", response.error());
  auto down = propagation(proto.downstream_propagation(), settings.in_response);
  if (!down) return compile::in("downstream_propagation", down.error());
  auto up = propagation(proto.upstream_propagation(), settings.in_request);
  if (!up) return compile::in("upstream_propagation", up.error());
  settings.labels.insert(proto.additional_labels().begin(), proto.additional_labels().end());
  settings.id = context.node.id();
  settings.metadata =
      base::to_base64(compile::serialize(istio::metadata_of(istio::workload_of(context.node, settings.labels))));
  return std::shared_ptr<const filter::HttpFilterConfig>(std::make_shared<PeerMetadataConfig>(std::move(settings)));
}

}  // namespace pinnace::filters::peer_metadata
