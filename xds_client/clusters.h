// Clusters: the clusters known to the proxy with their endpoints: in force, warming, refused. A cluster goes into force
// when its endpoints (EDS answer or first DNS answer) and TLS contexts are there; until then the old one serves.
// THREAD: control.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "envoy/config/endpoint/v3/endpoint.pb.h"
#include "proxy/model/update.h"
#include "xds_client/cluster_dns.h"
#include "xds_client/compile/cluster.h"
#include "xds_client/secrets.h"
#include "xds_client/subscription.h"

namespace pinnace::xds {

// The last version of a resource that was refused, for config_dump's error_state.
struct Rejection {
  Resource resource;
  std::string why;
  int64_t at_s = 0;
  bool set() const { return at_s != 0; }
};

struct ClusterEntry {
  Resource resource;  // in force
  Resource warming_resource;
  std::optional<compile::CompiledCluster> active, warming;
  model::EndpointsPtr endpoints;
  std::shared_ptr<ClusterDns> dns, warming_dns;  // of either, where its addresses come from DNS
  int64_t updated_s = 0;
  bool is_static = false;
  bool eds_given_up = false;  // timed out or refused: it goes live without endpoints
  uint64_t warming_serial = 0;
  Rejection rejected;
};

class Clusters {
 public:
  Clusters(boost::asio::io_context& control, const Secrets& secrets, std::function<void()> changed);

  void set(Resource resource, compile::CompiledCluster compiled, bool is_static, int64_t now_s);
  void reject(Resource resource, const std::string& why, int64_t now_s);
  void remove(const std::string& name);
  // Returns what is wrong with it, empty when nothing is.
  std::string set_endpoints(const Resource& resource, int64_t now_s);
  void remove_endpoints(const std::string& name);

  // Moves what is ready into force and adds it to `update`.
  void settle(model::Update& update, int64_t now_s);
  std::set<model::ResourceRef> wanted() const;
  // Since the last call.
  struct Changes {
    uint64_t added = 0, modified = 0, removed = 0;
  };
  Changes take_changes() { return std::exchange(changes_, {}); }
  size_t warming() const;
  size_t active() const;
  std::set<uint32_t> tls_contexts() const;
  std::shared_ptr<const std::set<std::string>> names() const;
  const std::map<std::string, ClusterEntry>& entries() const { return entries_; }
  const std::map<std::string, Resource>& assignments() const { return assignments_; }
  // Clusters that began to wait for endpoints with a time limit since the last call.
  struct Deadline {
    std::string cluster;
    uint64_t serial;  // of what warmed then
    uint64_t limit_ms;
  };
  std::vector<Deadline> take_deadlines() { return std::exchange(deadlines_, {}); }
  // The initial_fetch_timeout of a cluster's EDS is over. False: nothing waited for it any more.
  bool eds_timeout(const Deadline& deadline);
  // The first answer was refused: nobody waits for a better one. `assignment` empty: all of them.
  void give_up_endpoints(const std::string& assignment);
  // Forgets endpoints that no cluster asks for: should one come back, it waits for fresh ones.
  void drop_unwanted();

 private:
  bool ready(const ClusterEntry& entry, const compile::CompiledCluster& warming) const;
  std::shared_ptr<ClusterDns> start_dns(const compile::CompiledCluster& cluster);
  // Of the version in force.
  model::EndpointsPtr endpoints_of(const ClusterEntry& entry) const;

  boost::asio::io_context& control_;
  const Secrets& secrets_;
  std::function<void()> changed_;
  DnsResolver resolver_;
  std::map<std::string, ClusterEntry> entries_;
  std::map<std::string, Resource> assignments_;  // EDS, as delivered
  std::map<std::string, std::shared_ptr<envoy::config::endpoint::v3::ClusterLoadAssignment>> parsed_;
  std::vector<Deadline> deadlines_;
  uint64_t last_serial_ = 0;
  std::set<std::string> dirty_;  // cluster names whose endpoints changed
  std::vector<uint32_t> removed_;
  Changes changes_;
};

}  // namespace pinnace::xds
