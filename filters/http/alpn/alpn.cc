#include "filters/http/alpn/alpn.h"

namespace pinnace::filters::alpn {

filter::HttpFilter* AlpnConfig::create(filter::HttpStream& stream) const {
  return filter::make_in_arena<Alpn>(stream.arena(), stream, overrides_);
}

filter::Next Alpn::on_request(bool) {
  const upstream::Cluster* cluster = stream_.worker().clusters.find(stream_.info().cluster_id);
  if (!cluster || cluster->config()->istio.no_alpn_override) return filter::Next::kContinue;
  stream_.state().find_or_leave(left_).overrides = &overrides_;
  return filter::Next::kContinue;
}

}  // namespace pinnace::filters::alpn
