// Workload: who a peer is, as Istio's proxies tell each other: in x-envoy-peer-metadata, in the preamble of TCP
// connections, and, shorter, in the metadata of endpoints. Pure; the wire format is google.protobuf.Struct with the
// field names that istiod gives a node.
#pragma once

#include <google/protobuf/struct.pb.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "envoy/config/core/v3/base.pb.h"

namespace pinnace::filters::istio {

// What a peer says of itself becomes log text and labels: control characters are "_", and it ends after so many bytes.
inline constexpr size_t kMostText = 256;  // a Kubernetes name has at most 253

struct Workload {
  std::string instance;        // NAME: the pod
  std::string namespace_name;  // NAMESPACE
  std::string name;            // WORKLOAD_NAME
  std::string type;            // of OWNER: "pod", "deployment", "job", "cronjob", or empty
  std::string cluster;         // CLUSTER_ID
  std::string identity;        // IDENTITY
  std::string region, zone;    // REGION, AVAILABILITY_ZONE
  // LABELS
  std::string canonical_name;               // service.istio.io/canonical-name
  std::string canonical_revision;           // service.istio.io/canonical-revision
  std::string app, version;                 // app.kubernetes.io/name and /version, else "app" and "version"
  std::map<std::string, std::string> more;  // those that additional_labels asks for
};

using Labels = std::set<std::string, std::less<>>;

Workload workload_of(const google::protobuf::Struct& metadata, const Labels& additional);
// This proxy's own, from its node.
Workload workload_of(const envoy::config::core::v3::Node& node, const Labels& additional);
// An endpoint's metadata.istio.workload: "name;namespace;canonical name;canonical revision;cluster".
std::optional<Workload> workload_of_endpoint(std::string_view encoded);

google::protobuf::Struct metadata_of(const Workload& workload);

}  // namespace pinnace::filters::istio
