#include "translator/translate/inspectors.h"

#include <algorithm>
#include <map>

namespace pinnace::translator {
namespace {

using Predicate = envoy::config::listener::v3::ListenerFilterChainMatchPredicate;

struct Need {
  bool tls = false, http = false;
};

// By destination port; 0 is every port that no chain names.
std::map<uint32_t, Need> needs_of(const Listener& listener) {
  std::map<uint32_t, Need> out;
  for (auto& chain : listener.filter_chains()) {
    auto& match = chain.filter_chain_match();
    auto& need = out[match.destination_port().value()];
    need.tls |= match.transport_protocol() == "tls";
    for (auto& protocol : match.application_protocols()) need.http |= protocol == "http/1.1" || protocol == "h2c";
  }
  return out;
}

void set_ports(const std::vector<uint32_t>& ports, Predicate* to) {
  auto set = [](uint32_t port, Predicate* one) {
    one->mutable_destination_port_range()->set_start(static_cast<int32_t>(port));
    one->mutable_destination_port_range()->set_end(static_cast<int32_t>(port + 1));
  };
  if (ports.size() == 1) return set(ports[0], to);
  for (auto port : ports) set(port, to->mutable_or_match()->add_rules());
}

}  // namespace

void add_needed_inspectors(Listener* listener) {
  auto needs = needs_of(*listener);
  auto ports = [&](bool Need::*kind, bool wanted) {
    std::vector<uint32_t> out;
    for (auto& [port, need] : needs)
      if (need.*kind == wanted) out.push_back(port);
    return out;
  };
  if (auto wanting = ports(&Need::tls, true); !wanting.empty()) {
    auto* filter = add_tls_inspector(listener);
    auto others = ports(&Need::tls, false);
    // Where ports without a service do not want it, those that do are named instead.
    if (wanting.front() != 0) set_ports(wanting, filter->mutable_filter_disabled()->mutable_not_match());
    else if (!others.empty()) set_ports(others, filter->mutable_filter_disabled());
  }
  if (!ports(&Need::http, true).empty()) {
    auto* filter = add_http_inspector(listener);
    // ENVOY: 0 may be among them and is only a number here, as istiod has it.
    if (auto others = ports(&Need::http, false); !others.empty()) set_ports(others, filter->mutable_filter_disabled());
  }
}

}  // namespace pinnace::translator
