// Configuration: everything the control planes have said, what of it is in force, and what still warms. Takes xDS
// batches, compiles them on the compile thread, and publishes what is complete as one Update; only then is a batch
// acknowledged. A resource that cannot be used is refused by name and the one in force stays; nothing that works is
// taken away by it. THREAD: control; compilation runs on the executor it is given.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "envoy/config/bootstrap/v3/bootstrap.pb.h"
#include "proxy/model/update.h"
#include "xds_client/clusters.h"
#include "xds_client/extensions.h"
#include "xds_client/listener_compile.h"
#include "xds_client/secrets.h"
#include "xds_client/streams.h"

namespace pinnace::xds {

struct ListenerEntry {
  Resource resource;  // in force
  Resource warming_resource;
  std::optional<compile::CompiledListener> active, warming;
  std::shared_ptr<net::SocketSet> sockets, warming_sockets;  // of either; nullptr: it binds none
  int64_t updated_s = 0;
  bool is_static = false;
  Rejection rejected;
};

struct RouteEntry {
  Resource resource;
  model::RouteConfigPtr config;
  int64_t updated_s = 0;
  Rejection rejected;
  bool delivered = false;
  bool given_up = false;  // initial_fetch_timeout is over
};

class Configuration {
 public:
  struct Hooks {
    std::function<void(std::shared_ptr<const model::Update>)> publish;
    // Everything the first configuration needs is in force.
    std::function<void()> initialized;
    size_t workers = 1;
  };

  Configuration(boost::asio::io_context& control, boost::asio::thread_pool& compiler, compile::Context& context,
                compile::TlsRegistry& registry, Hooks hooks);
  ~Configuration();

  // Static resources, then the streams. ERRORS: a static resource cannot be used.
  Result<bool> start(const envoy::config::bootstrap::v3::Bootstrap& bootstrap,
                     std::unique_ptr<TransportFactory> transports);

  const Clusters& clusters() const { return clusters_; }
  const std::map<std::string, ListenerEntry>& listeners() const { return listeners_; }
  const std::map<model::ResourceRef, RouteEntry>& routes() const { return routes_; }
  const Secrets& secrets() const { return secrets_; }
  const Extensions& extensions() const { return extensions_; }
  const compile::Runtime& runtime() const { return context_.runtime; }
  std::string version(const std::string& type_url) const;
  // The first clusters have come and are warm.
  bool clusters_initialized() const { return begun_ && (!cds_source_ || got_clusters_) && clusters_.warming() == 0; }

 private:
  struct TypeStats {
    stats::Counter attempt, success, rejected, failure;
    stats::Counter added, modified, removed;
  };

  Result<bool> add_static(const envoy::config::bootstrap::v3::Bootstrap::StaticResources& resources);
  void on_batch(const model::ConfigSource& source, Batch batch);
  void apply_runtime(const Batch& batch);
  void apply_extensions(Batch batch);
  void compile_new_places();
  void apply_clusters(Batch batch);
  void apply_endpoints(const Batch& batch);
  void apply_routes(const model::ConfigSource& source, Batch batch);
  void apply_listeners(Batch batch);
  std::vector<std::shared_ptr<net::SocketSet>> remove_listeners(const Batch& batch,
                                                                const std::set<std::string>& present);
  void finish(const Batch& batch, const std::string& rejected);
  void settle();
  void settle_listeners(model::Update& update);
  bool listener_ready(const ListenerEntry& entry) const;
  // For `entry`'s warming version; empty: done. `left`: what listeners that go with the same push leave behind.
  // What it takes over of it is taken out.
  std::string open_sockets(ListenerEntry& entry, std::vector<std::shared_ptr<net::SocketSet>>& left);
  void update_wishes();
  void check_initialized();
  void begin();
  void give_up_later(const char* type_url, uint64_t limit_ms, bool& got);
  void arm_deadlines();
  void arm_listener(const compile::CompiledListener& listener);
  void give_up_on_fault(const std::string& type_url);
  void refuse_routes(const Resource& resource, const std::string& why);
  void later(uint64_t delay_ms, std::function<void()> work);
  int64_t now_s() const;

  boost::asio::io_context& control_;
  boost::asio::thread_pool& compiler_;
  compile::Context& context_;
  Hooks hooks_;
  Secrets secrets_;
  Clusters clusters_;
  Extensions extensions_;
  std::map<std::string, ListenerEntry> listeners_;
  std::map<model::ResourceRef, RouteEntry> routes_;
  std::vector<std::string> removed_listeners_;
  std::vector<model::ResourceRef> changed_routes_;
  std::unique_ptr<TransportFactory> transports_;
  std::unique_ptr<Streams> streams_;
  std::map<std::string, std::string> versions_;
  std::optional<model::ConfigSource> cds_source_, lds_source_;
  uint64_t cds_timeout_ms_ = 0, lds_timeout_ms_ = 0;
  std::set<std::string> missing_layers_;  // RTDS: the first clusters wait for them
  bool begun_ = false;
  bool got_clusters_ = false, got_listeners_ = false, listeners_asked_ = false;
  bool initialized_ = false;
  TypeStats cds_, lds_;
  stats::Counter listeners_created_, listeners_not_created_;  // ENVOY: once a worker
  stats::Gauge active_clusters_, warming_clusters_, total_listeners_, warming_listeners_;
};

}  // namespace pinnace::xds
