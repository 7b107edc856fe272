// Small shapes that every xDS resource repeats. Packing is deterministic (maps sorted), so that equal configuration is
// equal bytes and a push can be skipped by comparing them.
#pragma once

#include <google/protobuf/any.pb.h>
#include <google/protobuf/message.h>

#include <string>
#include <string_view>

#include "envoy/config/core/v3/address.pb.h"
#include "envoy/config/core/v3/base.pb.h"
#include "envoy/config/core/v3/config_source.pb.h"
#include "translator/fetch/resources.h"

namespace pinnace::translator {

std::string serialize(const google::protobuf::Message& message);
void pack(const google::protobuf::Message& message, google::protobuf::Any* any);
void set_duration(google::protobuf::Duration* to, Duration value);
void set_address(envoy::config::core::v3::Address* to, std::string_view ip, uint32_t port);

// Ads, initial_fetch_timeout 0 (wait for ever), V3.
void set_ads(envoy::config::core::v3::ConfigSource* source);

// filter_metadata.istio.config = "/apis/networking.istio.io/v1/namespaces/<ns>/<kind>/<name>".
void set_config_metadata(envoy::config::core::v3::Metadata* metadata, std::string_view kind, const Meta& meta);

std::string outbound_cluster(uint32_t port, std::string_view subset, std::string_view host);
std::string inbound_cluster(uint32_t port);

inline constexpr char kPassthroughCluster[] = "PassthroughCluster";
inline constexpr char kBlackHoleCluster[] = "BlackHoleCluster";
inline constexpr char kInboundPassthroughCluster[] = "InboundPassthroughCluster";

}  // namespace pinnace::translator
