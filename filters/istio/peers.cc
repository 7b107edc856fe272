#include "filters/istio/peers.h"

#include <map>
#include <optional>

#include "proxy/base/base64.h"

namespace pinnace::filters::istio {

Peers& Peers::here(const Labels& labels) {
  static thread_local Peers usual{Labels()};
  if (labels.empty()) return usual;
  static thread_local std::map<Labels, Peers> others;
  return others.try_emplace(labels, labels).first->second;
}

template <class Decode>
PeerPtr Peers::find(Known& known, std::string_view words, Decode decode) {
  if (words.empty() || words.size() > kMostWords) return nullptr;
  if (known.last && known.last->first == words) return known.last->second;
  auto found = known.table.find(words);
  if (found != known.table.end()) {
    known.last = &*found;
    return found->second;
  }
  size_t count = headers_.table.size() + structs_.table.size() + endpoints_.table.size();
  if (count >= kMost || bytes_ + words.size() > kMostBytes) {
    for (Known* each : {&headers_, &structs_, &endpoints_}) *each = {};
    bytes_ = 0;
  }
  std::optional<Workload> workload = decode();
  PeerPtr peer = workload ? std::make_shared<const Workload>(std::move(*workload)) : nullptr;
  bytes_ += words.size();
  known.table.emplace(words, peer);
  return peer;
}

namespace {

std::optional<Workload> parse(std::string_view serialized, const Labels& labels) {
  google::protobuf::Struct metadata;
  if (!metadata.ParseFromArray(serialized.data(), static_cast<int>(serialized.size()))) return {};
  return workload_of(metadata, labels);
}

}  // namespace

PeerPtr Peers::of_header(std::string_view base64) {
  return find(headers_, base64, [&]() -> std::optional<Workload> {
    auto bytes = base::from_base64(base64);
    return bytes ? parse(*bytes, labels_) : std::nullopt;
  });
}

PeerPtr Peers::of_bytes(std::string_view serialized) {
  return find(structs_, serialized, [&] { return parse(serialized, labels_); });
}

PeerPtr Peers::of_endpoint(std::string_view encoded) {
  return find(endpoints_, encoded, [&] { return workload_of_endpoint(encoded); });
}

}  // namespace pinnace::filters::istio
