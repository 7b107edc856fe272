// Distributor: serves configuration and identities to the proxies of the mesh, each on the unix socket of its own pod,
// and pushes what changed. The socket is the identity: whatever node a caller claims, it gets that pod's configuration
// and certificate. Over TCP (optional) configuration only, for the pod the node id names. THREAD: publish(), tick(),
// close() from one; gRPC's threads call back under lock_. LIFETIME: outlives its servers. ERRORS: a socket that cannot
// be bound is logged and tried again at the next publish.
#pragma once

#include <grpcpp/grpcpp.h>

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "proxy/base/result.h"
#include "translator/distribute/secret_store.h"
#include "translator/distribute/subscription.h"

namespace pinnace::translator {

class PodServer;

struct DistributorOptions {
  std::string run_directory;
  std::string ads_address;         // empty: no TCP
  std::string socket_path_in_pod;  // template with {pod} and {namespace}; empty: the path on the host
};

// A stream as the distributor sees it.
class ProxyStream {
 public:
  virtual ~ProxyStream() = default;
  virtual void update() = 0;  // the view changed; under lock_
  virtual void tick() = 0;
};

class Distributor {
 public:
  Distributor(DistributorOptions options, SecretStore& secrets);
  ~Distributor();

  Result<void> listen();  // the TCP address
  void publish(std::shared_ptr<const MeshState> state, const std::string& reason);
  // Rotates identities and rereads credentials; lets held responses go. About once a second.
  void tick();
  void close();

  // For the streams, all under lock().
  std::mutex& lock() { return lock_; }
  void add(ProxyStream* stream) { streams_.insert(stream); }
  void remove(ProxyStream* stream) { streams_.erase(stream); }
  // The view of a pod; its set is empty for a pod that is gone. `router` as the proxy claims.
  View view(const std::string& pod, const std::string& ns, bool router, bool with_secrets);
  bool knows(const std::string& pod, const std::string& ns) const;

 private:
  void open_servers();
  std::string host_path(const Pod& pod) const;
  void push();

  DistributorOptions options_;
  SecretStore& secrets_;
  std::mutex lock_;
  std::shared_ptr<const MeshState> state_;                                // guarded by lock_
  std::map<std::string, std::shared_ptr<const ResourceSet>> translated_;  // guarded by lock_; of state_
  std::set<ProxyStream*> streams_;                                        // guarded by lock_
  std::map<std::pair<std::string, std::string>, std::unique_ptr<PodServer>> servers_;
  std::unique_ptr<PodServer> tcp_;
};

}  // namespace pinnace::translator
