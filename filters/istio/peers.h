// Peers: the workloads that this worker's streams have heard of, each decoded once and shared. Keyed by the words it
// was told in. UNLIKE ISTIO: not by the id that comes with them, which any client could claim for other words. Bounded
// in number and bytes. THREAD: one worker's; PeerPtr may be read anywhere.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "filters/istio/workload.h"

namespace pinnace::filters::istio {

using PeerPtr = std::shared_ptr<const Workload>;

class Peers {
 public:
  static constexpr size_t kMost = 500;               // ISTIO
  static constexpr size_t kMostBytes = 1024 * 1024;  // of all that are kept, as they were told
  static constexpr size_t kMostWords = 16 * 1024;    // of one; longer ones are nobody's

  // Those of the thread that asks. `labels`: what its configuration wants to know of them beyond the usual.
  static Peers& here(const Labels& labels);
  explicit Peers(Labels labels) : labels_(std::move(labels)) {}

  // x-envoy-peer-metadata: a Struct in base64. nullptr: it is none.
  PeerPtr of_header(std::string_view base64);
  // The Struct itself.
  PeerPtr of_bytes(std::string_view serialized);
  // metadata.istio.workload of an endpoint.
  PeerPtr of_endpoint(std::string_view encoded);

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  using Table = std::unordered_map<std::string, PeerPtr, Hash, std::equal_to<>>;
  struct Known {
    Table table;
    // Found: comparing is less than hashing, and a peer seldom sends one request alone.
    const Table::value_type* last = nullptr;
  };

  template <class Decode>
  PeerPtr find(Known& known, std::string_view words, Decode decode);

  Labels labels_;
  Known headers_, structs_, endpoints_;
  size_t bytes_ = 0;
};

// What the filters of a stream learn of the workloads at its ends, for each other: in FilterState.
struct DownstreamPeer {
  PeerPtr workload;
};
struct UpstreamPeer {
  PeerPtr workload;
};

}  // namespace pinnace::filters::istio
