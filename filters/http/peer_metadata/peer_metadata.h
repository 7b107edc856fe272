// istio.metadata_exchange for HTTP (io.istio.http.peer_metadata.Config): tells the peer in x-envoy-peer-metadata and
// x-envoy-peer-metadata-id who this workload is, and takes from the peer's who it is, for metrics. At a server the
// client's fields are read and taken out, and ours answer them; at a client ours go with the request and the server's
// are taken out of the response. Workload discovery (ambient) finds nothing here: it has its own bootstrap extension.
#pragma once

#include <optional>
#include <string>

#include "filters/istio/peers.h"
#include "proxy/filter/http_filter.h"

namespace pinnace::filters::peer_metadata {

struct PeerMetadataSettings {
  bool from_request = false;   // downstream_discovery.istio_headers
  bool from_response = false;  // upstream_discovery.istio_headers
  struct Propagation {
    bool skip_external = false;  // skip_external_clusters
  };
  std::optional<Propagation> in_request;   // upstream_propagation.istio_headers
  std::optional<Propagation> in_response;  // downstream_propagation.istio_headers
  istio::Labels labels;                    // additional_labels
  std::string id;                          // this node's
  std::string metadata;                    // this workload, as the field has it
};

class PeerMetadataConfig final : public filter::HttpFilterConfig {
 public:
  explicit PeerMetadataConfig(PeerMetadataSettings settings) : settings_(std::move(settings)) {}
  filter::HttpFilter* create(filter::HttpStream& stream) const override;

 private:
  PeerMetadataSettings settings_;
};

class PeerMetadata final : public filter::HttpFilter {
 public:
  PeerMetadata(filter::HttpStream& stream, const PeerMetadataSettings& settings)
      : stream_(stream), settings_(settings) {}

  filter::Next on_request(bool end_stream) override;
  filter::Next on_response_head(http::ResponseHead& head, bool end_stream) override;

 private:
  // Takes the peer's fields out.
  istio::PeerPtr take(http::HeaderMap& headers) const;
  bool skips(const PeerMetadataSettings::Propagation& propagation) const;

  filter::HttpStream& stream_;
  const PeerMetadataSettings& settings_;
  filter::FilterState::Slot<istio::DownstreamPeer> downstream_;
  filter::FilterState::Slot<istio::UpstreamPeer> upstream_;
  bool id_asked_ = false, metadata_asked_ = false;
};

}  // namespace pinnace::filters::peer_metadata
