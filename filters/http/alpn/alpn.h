// istio.alpn: which application protocols the upstream's TLS offers, by the protocol that it speaks, so that the peer's
// proxy knows a request of the mesh. It leaves them for the router; a cluster's metadata may say no.
#pragma once

#include <array>
#include <string>

#include "proxy/filter/http_filter.h"
#include "proxy/filter/upstream_alpn.h"

namespace pinnace::filters::alpn {

class AlpnConfig final : public filter::HttpFilterConfig {
 public:
  explicit AlpnConfig(filter::AlpnByProtocol overrides) : overrides_(std::move(overrides)) {}
  filter::HttpFilter* create(filter::HttpStream& stream) const override;

 private:
  filter::AlpnByProtocol overrides_;
};

class Alpn final : public filter::HttpFilter {
 public:
  Alpn(filter::HttpStream& stream, const filter::AlpnByProtocol& overrides) : stream_(stream), overrides_(overrides) {}
  filter::Next on_request(bool end_stream) override;

 private:
  filter::HttpStream& stream_;
  const filter::AlpnByProtocol& overrides_;
  filter::FilterState::Slot<filter::UpstreamAlpn> left_;
};

}  // namespace pinnace::filters::alpn
