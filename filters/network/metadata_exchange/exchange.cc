#include "filters/network/metadata_exchange/exchange.h"

#include <google/protobuf/any.pb.h>

#include <algorithm>

#include "xds_client/compile/struct.h"

namespace pinnace::filters::metadata_exchange {
namespace {

constexpr const char* kMetadata = "x-envoy-peer-metadata";
constexpr const char* kId = "x-envoy-peer-metadata-id";

void put_u32(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

uint32_t u32(const std::string& in, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; i++) value = value << 8 | static_cast<uint8_t>(in[at + i]);
  return value;
}

}  // namespace

std::string preamble_of(const envoy::config::core::v3::Node& node, const istio::Labels& labels) {
  google::protobuf::Struct told;
  auto& fields = *told.mutable_fields();
  *fields[kMetadata].mutable_struct_value() = istio::metadata_of(istio::workload_of(node, labels));
  if (!node.id().empty()) fields[kId].set_string_value(node.id());
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/google.protobuf.Struct");
  any.set_value(compile::serialize(told));
  std::string body = compile::serialize(any), out;
  put_u32(out, Exchange::kMagic);
  put_u32(out, static_cast<uint32_t>(body.size()));
  return out + body;
}

std::optional<std::string_view> Exchange::begin(const net::TlsInfo* tls) {
  if (!tls || tls->alpn != settings_->protocol) {
    cells_.add(settings_->stats.alpn_not_found);
    over_ = true;
    return {};
  }
  cells_.add(settings_->stats.alpn_found);
  cells_.add(settings_->stats.metadata_added);
  return settings_->ours;
}

net::Prologue::Taken Exchange::take(base::Bytes& data) {
  const base::Bytes whole = data;
  bool first = came_.empty();
  while (true) {
    size_t want = came_.size() < kHead ? kHead : kHead + u32(came_, 4);
    size_t more = std::min(want - came_.size(), data.size());
    came_.append(reinterpret_cast<const char*>(data.data()), more);
    data = data.subspan(more);
    if (!begins_with_magic()) return hand_back(first ? whole : base::Bytes(), data);
    if (came_.size() < want) return Taken::kMore;
    uint32_t length = u32(came_, 4);
    if (length > kMostBytes) return broken();
    if (want == kHead && length > 0) continue;
    return finish();
  }
}

bool Exchange::begins_with_magic() const {
  for (size_t i = 0; i < std::min<size_t>(came_.size(), 4); i++) {
    if (static_cast<uint8_t>(came_[i]) != static_cast<uint8_t>(kMagic >> (24 - 8 * i))) return false;
  }
  return true;
}

net::Prologue::Taken Exchange::hand_back(base::Bytes whole, base::Bytes& data) {
  cells_.add(settings_->stats.initial_header_not_found);
  over_ = true;
  if (!whole.empty()) {  // it came in one read
    came_ = {};
    data = whole;
    return Taken::kOver;
  }
  came_.append(reinterpret_cast<const char*>(data.data()), data.size());
  data = {reinterpret_cast<const uint8_t*>(came_.data()), came_.size()};
  return Taken::kOver;
}

net::Prologue::Taken Exchange::broken() {
  cells_.add(settings_->stats.header_not_found);
  over_ = true;
  return Taken::kBroken;
}

net::Prologue::Taken Exchange::finish() {
  google::protobuf::Any any;
  google::protobuf::Struct told;
  bool read = any.ParseFromArray(came_.data() + kHead, static_cast<int>(came_.size() - kHead)) && any.UnpackTo(&told);
  if (!read) return broken();
  came_ = {};
  over_ = true;
  auto metadata = told.fields().find(kMetadata);
  if (metadata != told.fields().end()) {
    peer_ = istio::Peers::here(settings_->labels).of_bytes(compile::serialize(metadata->second.struct_value()));
  }
  return Taken::kOver;
}

}  // namespace pinnace::filters::metadata_exchange
