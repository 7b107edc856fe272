// The labels of Istio's standard metrics: from what is known of a request or connection to name and value, in Istio's
// order. Pure.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "filters/istio/workload.h"
#include "proxy/stats/store.h"

namespace pinnace::filters::istio_stats {

// PluginConfig.reporter and the listener's direction: which end of the request this proxy is.
enum class Reporter : uint8_t { kSource, kDestination, kWaypoint };
enum class Protocol : uint8_t { kHttp, kGrpc, kTcp };
enum class Security : uint8_t { kUnknown, kNone, kMutualTls };

struct Facts {
  const istio::Workload* peer = nullptr;      // the other end's, at the source the destination's
  const istio::Workload* upstream = nullptr;  // a waypoint's destination
  std::string_view peer_principal, local_principal;
  std::string_view service_host, service_name, service_namespace;
  Security security = Security::kUnknown;
};

// How it ended; requests have all of it, connections only the flags.
struct Outcome {
  Protocol protocol = Protocol::kHttp;
  uint16_t code = 0;
  int grpc_status = -1;  // -1: none
  std::string_view flags = "-";
};

using Tags = std::vector<stats::Tag>;

// reporter, source_* and destination_*.
Tags peer_labels(Reporter reporter, const istio::Workload& local, const Facts& facts);
// request_protocol to connection_security_policy.
void add_outcome(const Outcome& outcome, Security security, Tags& to);

// The names of every standard label, for what configuration may remove.
const std::set<std::string, std::less<>>& standard_labels();

// "spiffe://domain/ns/NAMESPACE/sa/account" → NAMESPACE, empty when it has none.
std::string_view namespace_of(std::string_view principal);

}  // namespace pinnace::filters::istio_stats
