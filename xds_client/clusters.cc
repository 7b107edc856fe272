#include "xds_client/clusters.h"

#include <algorithm>
#include <boost/asio/post.hpp>

#include "proxy/base/log.h"

namespace pinnace::xds {

using compile::CompiledCluster;
using envoy::config::endpoint::v3::ClusterLoadAssignment;
using model::ClusterType;

Clusters::Clusters(boost::asio::io_context& control, const Secrets& secrets, std::function<void()> changed)
    : control_(control), secrets_(secrets), changed_(std::move(changed)), resolver_(control) {}

void Clusters::set(Resource resource, CompiledCluster compiled, bool is_static, int64_t now_s) {
  ClusterEntry& entry = entries_[resource.name];
  entry.rejected = {};
  entry.is_static = is_static;
  // The same again changes nothing: pools, host state and what is warming stay.
  if (entry.warming && entry.warming->config->content_hash == compiled.config->content_hash) {
    entry.warming_resource = std::move(resource);
    return;
  }
  if (entry.active && entry.active->config->content_hash == compiled.config->content_hash) {
    entry.warming.reset();
    entry.warming_dns.reset();
    entry.resource = std::move(resource);
    return;
  }
  // Counts that circuit breakers compare belong to the name, not to one version of it.
  if (entry.active) compiled.config->counts = entry.active->config->counts;
  entry.warming = std::move(compiled);
  entry.warming_resource = std::move(resource);
  entry.eds_given_up = false;
  entry.updated_s = now_s;
  entry.warming_serial = ++last_serial_;
  if (entry.warming->eds_timeout_ms > 0 && !parsed_.contains(entry.warming->eds.name)) {
    deadlines_.push_back({entry.warming->config->name, entry.warming_serial, entry.warming->eds_timeout_ms});
  }
  entry.warming_dns = entry.warming->dns_targets.empty() ? nullptr : start_dns(*entry.warming);
}

void Clusters::reject(Resource resource, const std::string& why, int64_t now_s) {
  ClusterEntry& entry = entries_[resource.name];
  entry.rejected = {std::move(resource), why, now_s};
}

void Clusters::remove(const std::string& name) {
  auto found = entries_.find(name);
  if (found == entries_.end() || found->second.is_static) return;
  if (found->second.active) {
    removed_.push_back(found->second.active->config->id);
    changes_.removed++;
  }
  entries_.erase(found);
}

std::string Clusters::set_endpoints(const Resource& resource, int64_t) {
  auto parsed = std::make_shared<ClusterLoadAssignment>();
  if (!resource.body.UnpackTo(parsed.get())) {
    give_up_endpoints(resource.name);
    return (resource.name.empty() ? "a resource" : resource.name) + ": no ClusterLoadAssignment";
  }
  const std::string& name = parsed->cluster_name();
  // Endpoints are checked against any cluster that uses them; the sockets differ, the errors do not.
  model::TransportSocket plain;
  auto compiled = compile::endpoints(*parsed, {plain});
  if (!compiled) {
    give_up_endpoints(name);
    return name + ": " + compiled.error().message;
  }
  Resource kept = resource;
  kept.name = name;
  assignments_[name] = std::move(kept);
  parsed_[name] = std::move(parsed);
  for (auto& [cluster, entry] : entries_) {
    if (entry.active && entry.active->eds.name == name) dirty_.insert(cluster);
  }
  return {};
}

void Clusters::remove_endpoints(const std::string& name) {
  assignments_.erase(name);
  parsed_.erase(name);
}

bool Clusters::eds_timeout(const Deadline& deadline) {
  auto found = entries_.find(deadline.cluster);
  if (found == entries_.end() || found->second.warming_serial != deadline.serial) return false;
  ClusterEntry& entry = found->second;
  if (!entry.warming || entry.eds_given_up || parsed_.contains(entry.warming->eds.name)) return false;
  entry.eds_given_up = true;
  PN_LOG(kWarning, "xds", "cluster {}: no endpoints within initial_fetch_timeout; it goes live without any",
         deadline.cluster);
  return true;
}

// ENVOY: a bad first answer does not hold the start up. UNLIKE ENVOY: where a former self serves, that one goes on.
void Clusters::give_up_endpoints(const std::string& assignment) {
  for (auto& [name, entry] : entries_) {
    if (!entry.warming || entry.active || entry.eds_given_up || parsed_.contains(entry.warming->eds.name)) continue;
    if (entry.warming->eds.name.empty() || (!assignment.empty() && entry.warming->eds.name != assignment)) continue;
    entry.eds_given_up = true;
    PN_LOG(kWarning, "xds", "cluster {}: its endpoints were refused; it goes live without any", name);
  }
}

void Clusters::drop_unwanted() {
  std::set<std::string> names;
  for (const auto& ref : wanted()) names.insert(ref.name);
  std::erase_if(assignments_, [&](const auto& entry) { return !names.contains(entry.first); });
  std::erase_if(parsed_, [&](const auto& entry) { return !names.contains(entry.first); });
}

bool Clusters::ready(const ClusterEntry& entry, const CompiledCluster& warming) const {
  if (!warming.eds.name.empty() && !parsed_.contains(warming.eds.name) && !entry.eds_given_up) return false;
  if (entry.warming_dns && !entry.warming_dns->answered()) return false;
  return std::all_of(warming.tls_contexts.begin(), warming.tls_contexts.end(),
                     [&](uint32_t id) { return secrets_.ready(id); });
}

model::EndpointsPtr Clusters::endpoints_of(const ClusterEntry& entry) const {
  const CompiledCluster& cluster = *entry.active;
  if (cluster.endpoints) return cluster.endpoints;
  if (entry.dns) return entry.dns->endpoints();
  auto parsed = parsed_.find(cluster.eds.name);
  if (parsed != parsed_.end()) {
    auto compiled = compile::endpoints(*parsed->second, cluster.config->sockets);
    if (compiled) return *compiled;
  }
  return std::make_shared<model::EndpointSet>();
}

void Clusters::settle(model::Update& update, int64_t now_s) {
  for (auto& [name, entry] : entries_) {
    if (entry.warming && ready(entry, *entry.warming)) {
      (entry.active ? changes_.modified : changes_.added)++;
      entry.active = std::move(entry.warming);
      entry.resource = std::move(entry.warming_resource);
      entry.warming.reset();
      entry.dns = std::exchange(entry.warming_dns, nullptr);
      entry.updated_s = now_s;
      update.clusters.push_back(entry.active->config);
      dirty_.insert(name);
    }
    if (entry.active && dirty_.contains(name) && entry.active->config->type != ClusterType::kOriginalDst) {
      entry.endpoints = endpoints_of(entry);
      update.endpoints.push_back({entry.active->config->id, entry.endpoints});
    }
  }
  dirty_.clear();
  // Ids belong to names: a cluster that came back in the same batch stays.
  for (uint32_t id : std::exchange(removed_, {})) {
    bool back = std::any_of(entries_.begin(), entries_.end(),
                            [&](const auto& e) { return e.second.active && e.second.active->config->id == id; });
    if (!back) update.removed_clusters.push_back(id);
  }
}

std::set<model::ResourceRef> Clusters::wanted() const {
  std::set<model::ResourceRef> out;
  for (const auto& [name, entry] : entries_) {
    if (entry.active && !entry.active->eds.name.empty()) out.insert(entry.active->eds);
    if (entry.warming && !entry.warming->eds.name.empty()) out.insert(entry.warming->eds);
  }
  return out;
}

size_t Clusters::active() const {
  return static_cast<size_t>(
      std::count_if(entries_.begin(), entries_.end(), [](const auto& e) { return e.second.active.has_value(); }));
}

std::shared_ptr<const std::set<std::string>> Clusters::names() const {
  auto out = std::make_shared<std::set<std::string>>();
  for (const auto& [name, entry] : entries_) out->insert(name);
  return out;
}

std::set<uint32_t> Clusters::tls_contexts() const {
  std::set<uint32_t> out;
  for (const auto& [name, entry] : entries_) {
    for (const auto* version : {&entry.active, &entry.warming}) {
      if (*version) out.insert((*version)->tls_contexts.begin(), (*version)->tls_contexts.end());
    }
  }
  return out;
}

size_t Clusters::warming() const {
  return static_cast<size_t>(
      std::count_if(entries_.begin(), entries_.end(), [](const auto& e) { return e.second.warming.has_value(); }));
}

std::shared_ptr<ClusterDns> Clusters::start_dns(const CompiledCluster& cluster) {
  auto dns = std::make_shared<ClusterDns>(control_, resolver_, cluster, [this, name = cluster.config->name] {
    dirty_.insert(name);
    // Not from within the resolver's call: settle() may change what we are looking at.
    boost::asio::post(control_, changed_);
  });
  dns->resolve();
  return dns;
}

}  // namespace pinnace::xds
