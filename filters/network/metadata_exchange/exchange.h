// istio.metadata_exchange for TCP, downstream (a filter of the chain) and upstream (cluster.filters): the two proxies
// of a mesh tell each other their workloads at the beginning of a connection whose negotiated ALPN protocol says so, in
//
//   +--------------------+--------------------+----------------------------------------------------------------+
//   | magic 0x3D230467   | length, big-endian | google.protobuf.Any of a Struct {x-envoy-peer-metadata: Struct, |
//   |                    |                    |   x-envoy-peer-metadata-id: node id}                            |
//   +--------------------+--------------------+----------------------------------------------------------------+
//
// Bytes that do not begin with the magic are the connection's own. UNLIKE ISTIO: what follows the magic and is too long
// or no Struct ends the connection; it would be handed on.
#pragma once

#include <memory>
#include <string>

#include "filters/istio/peers.h"
#include "proxy/net/prologue.h"
#include "proxy/stats/store.h"

namespace pinnace::filters::metadata_exchange {

// metadata_exchange.*
struct ExchangeStats {
  stats::Counter alpn_found, alpn_not_found, initial_header_not_found, header_not_found, metadata_added;
};

struct ExchangeSettings {
  std::string protocol;  // the ALPN protocol that asks for it
  istio::Labels labels;  // additional_labels
  std::string ours;      // the whole preamble
  ExchangeStats stats;
};

class Exchange final : public net::Prologue {
 public:
  static constexpr uint32_t kMagic = 0x3D230467;
  static constexpr size_t kHead = 8, kMostBytes = 64 * 1024;

  Exchange(std::shared_ptr<const ExchangeSettings> settings, stats::Cells& cells)
      : settings_(std::move(settings)), cells_(cells) {}

  std::optional<std::string_view> begin(const net::TlsInfo* tls) override;
  Taken take(base::Bytes& data) override;

  // nullptr: not told (yet).
  const istio::PeerPtr& peer() const { return peer_; }
  // Nothing more will be learnt.
  bool over() const { return over_; }

 private:
  bool begins_with_magic() const;
  // The peer does not take part: all that came is the connection's.
  Taken hand_back(base::Bytes whole, base::Bytes& data);
  Taken broken();
  Taken finish();

  std::shared_ptr<const ExchangeSettings> settings_;
  stats::Cells& cells_;
  std::string came_;  // until it is whole
  bool over_ = false;
  istio::PeerPtr peer_;
};

// Magic, length and the metadata of `node`.
std::string preamble_of(const envoy::config::core::v3::Node& node, const istio::Labels& labels);

}  // namespace pinnace::filters::metadata_exchange
