#include "translator/translate/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "translator/translate/gateway_plan.h"
#include "translator/translate/outbound_plan.h"

namespace pinnace::translator {
namespace {

class Check {
 public:
  Check(const MeshState& state, std::vector<std::string>& out) : state_(state), out_(out) {}

  void duplicates(const std::vector<const Object*>& objects) {
    std::map<std::tuple<size_t, std::string, std::string>, const Meta*> seen;
    for (auto* object : objects) {
      auto& meta = std::visit([](auto& one) -> const Meta& { return one.meta; }, *object);
      auto [first, fresh] = seen.try_emplace({object->index(), meta.ns, meta.name}, &meta);
      // The subsets of one Endpoints object are several of ours.
      bool same_document = first->second->file == meta.file && first->second->line == meta.line;
      if (!fresh && !same_document)
        warn(meta, fmt::format("{}/{} is already defined in {}:{}", meta.ns, meta.name, first->second->file,
                               first->second->line));
    }
  }

  void rule(const VirtualService& rule) {
    for (auto& name : rule.gateways) {
      if (name == "mesh") continue;
      auto full = name.find('/') == std::string::npos ? rule.meta.ns + "/" + name : name;
      bool known = std::any_of(state_.gateways().begin(), state_.gateways().end(),
                               [&](auto& gateway) { return gateway.meta.ns + "/" + gateway.meta.name == full; });
      if (!known) warn(rule.meta, fmt::format("no Gateway {}", full));
    }
    auto all = [&](auto& routes) {
      for (auto& route : routes)
        for (auto& one : route.destinations) destination(rule, one.destination);
    };
    all(rule.http);
    all(rule.tls);
    all(rule.tcp);
  }

  // A Gateway port is seen by the pods it selects.
  void gateway_ports(const Pod& pod) {
    auto facts = proxy_facts(state_, pod);
    if (!facts.router) return;
    std::set<const GatewayServer*> bound;
    for (auto& port : gateway_plan(state_, facts))
      for (auto& binding : port.bindings) bound.insert(binding.server);
    for (auto& gateway : state_.gateways()) {
      if (!labels_match(gateway.selector, pod.meta.labels)) continue;
      for (auto& server : gateway.servers)
        if (!bound.contains(&server))
          warn(gateway.meta,
               fmt::format("server {} ({}) cannot share port {} with another Gateway's: plain HTTP beside TLS "
                           "or TCP, or a second plain TCP; it is left out",
                           server.name, name_of(server.protocol), server.port));
    }
  }

  // What a sidecar of the pod's namespace cannot listen for.
  void shared_addresses(const Pod& pod) {
    auto facts = proxy_facts(state_, pod);
    if (facts.router || !seen_.insert(pod.meta.ns).second) return;
    for (auto& listener : outbound_plan(state_, facts))
      for (auto* service : listener.left_out)
        warn(service->file, service->line,
             fmt::format("{}: port {} is left out: it shares {}:{}, and Mongo and MySQL, whose servers speak first, "
                         "stand beside no other protocol",
                         service->host, listener.port, listener.address, listener.port));
  }

 private:
  void warn(const Meta& at, const std::string& reason) { warn(at.file, at.line, reason); }
  void warn(const std::string& file, int at, const std::string& reason) {
    auto line = fmt::format("{}:{}: warning: {}", file, at, reason);
    if (std::find(out_.begin(), out_.end(), line) == out_.end()) out_.push_back(std::move(line));
  }

  void destination(const VirtualService& rule, const Destination& to) {
    auto host = state_.resolve_host(to.host, rule.meta.ns);
    auto* service = state_.service(host, rule.meta.ns);
    if (!service) return warn(rule.meta, fmt::format("destination {}: no such service", host));
    if (to.port != 0 && !service->port(to.port))
      warn(rule.meta, fmt::format("destination {}: no port {}", host, to.port));
    if (to.subset.empty()) return;
    auto* policy = state_.destination_rule(*service, rule.meta.ns);
    bool known = policy && std::any_of(policy->subsets.begin(), policy->subsets.end(),
                                       [&](auto& subset) { return subset.name == to.subset; });
    if (!known) warn(rule.meta, fmt::format("destination {}: no DestinationRule defines subset {}", host, to.subset));
  }

  const MeshState& state_;
  std::vector<std::string>& out_;
  std::set<std::string> seen_;  // namespaces
};

}  // namespace

std::vector<std::string> check(const std::vector<const Object*>& objects, const MeshState& state) {
  std::vector<std::string> out;
  Check check(state, out);
  check.duplicates(objects);
  for (auto& rule : state.virtual_services()) check.rule(rule);
  for (auto& pod : state.pods()) {
    check.gateway_ports(pod);
    check.shared_addresses(pod);
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace pinnace::translator
