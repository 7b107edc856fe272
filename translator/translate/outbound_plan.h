// OutboundPlan: which addresses a sidecar listens on for outbound traffic, and what stands behind each; listeners and
// routes are both drawn from it, so that a listener never names a route that is not there.
// LIFETIME: points into the MeshState.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "translator/translate/rule_match.h"

namespace pinnace::translator {

struct OutboundChain {
  std::vector<std::string> server_names;   // SNI
  std::vector<std::string> prefix_ranges;  // "10.0.0.0/8"
  std::vector<std::pair<std::string, uint32_t>> clusters;
  const VirtualService* rule = nullptr;  // where it comes from, when not the service itself
  std::string stat_prefix;
  std::optional<Duration> idle_timeout;
  bool matches_all() const { return server_names.empty() && prefix_ranges.empty(); }
};

struct OutboundListener {
  std::string address;
  uint32_t port = 0;
  std::string route;                             // HTTP chain when set
  size_t route_at = 0;                           // how many of the chains stand before it
  const MeshService* sniffed_service = nullptr;  // the route serves this one alone
  bool grpc_web = false;                         // the first service of the route speaks it
  std::vector<OutboundChain> chains;             // TCP
  Protocol protocol = Protocol::kAuto;           // of the one that came first; kAuto where an inspector must tell
  std::vector<const MeshService*> left_out;      // could not come to this address
};

// Sorted by address and port.
std::vector<OutboundListener> outbound_plan(const MeshState& state, const ProxyFacts& proxy);

// spec.tcp and spec.tls of the rules for one service port; empty when none applies.
std::vector<OutboundChain> l4_rule_chains(const MeshState& state, const std::vector<L4Route>& routes,
                                          const VirtualService& rule, const RuleScope& scope);

}  // namespace pinnace::translator
