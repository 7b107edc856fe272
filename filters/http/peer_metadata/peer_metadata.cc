#include "filters/http/peer_metadata/peer_metadata.h"

namespace pinnace::filters::peer_metadata {

using filter::Next;
using http::HeaderId;

filter::HttpFilter* PeerMetadataConfig::create(filter::HttpStream& stream) const {
  return filter::make_in_arena<PeerMetadata>(stream.arena(), stream, settings_);
}

istio::PeerPtr PeerMetadata::take(http::HeaderMap& headers) const {
  istio::PeerPtr peer = istio::Peers::here(settings_.labels).of_header(headers.get(HeaderId::kPeerMetadata));
  headers.remove(HeaderId::kPeerMetadataId);
  headers.remove(HeaderId::kPeerMetadata);
  return peer;
}

// Whoever is outside the mesh need not know us.
bool PeerMetadata::skips(const PeerMetadataSettings::Propagation& propagation) const {
  const upstream::Cluster* cluster = stream_.worker().clusters.find(stream_.info().cluster_id);
  if (!cluster) return false;
  const model::ClusterConfig& config = *cluster->config();
  return config.istio.disable_mx ||
         (propagation.skip_external && (config.istio.external || config.name == "PassthroughCluster"));
}

Next PeerMetadata::on_request(bool) {
  http::HeaderMap& headers = stream_.request().headers;
  if (settings_.from_request) {
    id_asked_ = headers.has(HeaderId::kPeerMetadataId);
    metadata_asked_ = headers.has(HeaderId::kPeerMetadata);
    if (istio::PeerPtr peer = take(headers)) stream_.state().find_or_leave(downstream_).workload = std::move(peer);
  }
  if (settings_.in_request && !skips(*settings_.in_request)) {
    headers.set(HeaderId::kPeerMetadataId, settings_.id);
    headers.set(HeaderId::kPeerMetadata, settings_.metadata);
  }
  return Next::kContinue;
}

Next PeerMetadata::on_response_head(http::ResponseHead& head, bool) {
  if (settings_.from_response) {
    if (istio::PeerPtr peer = take(head.headers)) stream_.state().find_or_leave(upstream_).workload = std::move(peer);
  }
  bool asked = id_asked_ || metadata_asked_;
  if (settings_.in_response && asked && !skips(*settings_.in_response)) {
    if (id_asked_) head.headers.set(HeaderId::kPeerMetadataId, settings_.id);
    if (metadata_asked_) head.headers.set(HeaderId::kPeerMetadata, settings_.metadata);
  }
  return Next::kContinue;
}

}  // namespace pinnace::filters::peer_metadata
