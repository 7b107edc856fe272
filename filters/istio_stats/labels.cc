#include "filters/istio_stats/labels.h"

namespace pinnace::filters::istio_stats {
namespace {

std::string or_unknown(std::string_view value) { return std::string(value.empty() ? "unknown" : value); }
std::string or_latest(std::string_view value) { return std::string(value.empty() ? "latest" : value); }

const istio::Workload& or_nobody(const istio::Workload* workload) {
  static const istio::Workload nobody;
  return workload ? *workload : nobody;
}

// The end that is not this proxy's.
void add_peer(const std::string& end, const istio::Workload& peer, std::string_view principal, Tags& to) {
  std::string_view from_principal = namespace_of(principal);
  to.push_back({end + "_workload", or_unknown(peer.name)});
  to.push_back({end + "_canonical_service", or_unknown(peer.canonical_name)});
  to.push_back({end + "_canonical_revision", or_latest(peer.canonical_revision)});
  to.push_back(
      {end + "_workload_namespace", or_unknown(from_principal.empty() ? peer.namespace_name : from_principal)});
  to.push_back({end + "_principal", or_unknown(principal)});
  to.push_back({end + "_app", or_unknown(peer.app)});
  to.push_back({end + "_version", or_unknown(peer.version)});
  to.push_back({end + "_cluster", or_unknown(peer.cluster)});
}

// ISTIO: what a node does not say of itself is empty.
void add_local(const std::string& end, const istio::Workload& local, std::string_view principal, Tags& to) {
  to.push_back({end + "_workload", local.name});
  to.push_back({end + "_canonical_service", local.canonical_name});
  to.push_back({end + "_canonical_revision", local.canonical_revision});
  to.push_back({end + "_workload_namespace", local.namespace_name});
  to.push_back({end + "_principal", or_unknown(principal)});
  to.push_back({end + "_app", local.app});
  to.push_back({end + "_version", local.version});
  to.push_back({end + "_cluster", local.cluster});
}

void add_service(std::string_view host, std::string_view name, std::string_view namespace_name, Tags& to) {
  to.push_back({"destination_service", std::string(host)});
  to.push_back({"destination_service_name", std::string(name)});
  to.push_back({"destination_service_namespace", std::string(namespace_name)});
}

std::string_view or_else(std::string_view value, std::string_view other) { return value.empty() ? other : value; }

}  // namespace

std::string_view namespace_of(std::string_view principal) {
  static constexpr std::string_view kBefore = "/ns/";
  size_t begin = principal.find(kBefore);
  if (begin == std::string_view::npos) return {};
  principal.remove_prefix(begin + kBefore.size());
  return principal.substr(0, principal.find('/'));
}

Tags peer_labels(Reporter reporter, const istio::Workload& local, const Facts& facts) {
  Tags out;
  out.reserve(25);
  const istio::Workload& peer = or_nobody(facts.peer);
  switch (reporter) {
    case Reporter::kSource: {
      out.push_back({"reporter", "source"});
      add_local("source", local, facts.local_principal, out);
      add_peer("destination", peer, facts.peer_principal, out);
      std::string_view from_principal = namespace_of(facts.peer_principal);
      std::string_view peers = from_principal.empty() ? std::string_view(peer.namespace_name) : from_principal;
      add_service(or_else(facts.service_host, "unknown"), or_else(facts.service_name, "unknown"),
                  or_else(or_else(facts.service_namespace, peers), "unknown"), out);
      break;
    }
    case Reporter::kDestination:
      out.push_back({"reporter", "destination"});
      add_peer("source", peer, facts.peer_principal, out);
      add_local("destination", local, facts.local_principal, out);
      add_service(or_else(facts.service_host, local.canonical_name), or_else(facts.service_name, local.canonical_name),
                  local.namespace_name, out);
      break;
    case Reporter::kWaypoint:
      out.push_back({"reporter", "waypoint"});
      add_peer("source", peer, facts.peer_principal, out);
      add_peer("destination", or_nobody(facts.upstream), or_nobody(facts.upstream).identity, out);
      add_service(or_else(facts.service_host, "unknown"), or_else(facts.service_name, "unknown"),
                  or_else(facts.service_namespace, "unknown"), out);
  }
  return out;
}

void add_outcome(const Outcome& outcome, Security security, Tags& to) {
  static constexpr const char* kProtocols[] = {"http", "grpc", "tcp"};
  static constexpr const char* kPolicies[] = {"unknown", "none", "mutual_tls"};
  to.push_back({"request_protocol", kProtocols[static_cast<size_t>(outcome.protocol)]});
  if (outcome.protocol != Protocol::kTcp) {
    to.push_back({"response_code", std::to_string(outcome.code)});
    std::string status = outcome.grpc_status < 0 ? std::string() : std::to_string(outcome.grpc_status);
    to.push_back({"grpc_response_status", outcome.protocol == Protocol::kGrpc ? status : std::string()});
  }
  to.push_back({"response_flags", std::string(outcome.flags)});
  to.push_back({"connection_security_policy", kPolicies[static_cast<size_t>(security)]});
}

const std::set<std::string, std::less<>>& standard_labels() {
  static const std::set<std::string, std::less<>> names = [] {
    std::set<std::string, std::less<>> out;
    Tags tags = peer_labels(Reporter::kSource, {}, {});
    add_outcome({}, Security::kUnknown, tags);
    for (const auto& tag : tags) out.insert(tag.name);
    return out;
  }();
  return names;
}

}  // namespace pinnace::filters::istio_stats
