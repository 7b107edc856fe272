// The xDS protocol of one stream, without I/O: requests and new configuration in, responses out. Delta and
// state-of-the-world. A response carries only what the subscriber does not have; EDS of a changed cluster is sent
// again, because a cluster that warms anew waits for it. Order of a change: clusters and endpoints first, listeners and
// routes when those are acknowledged, clusters that nothing needs any more last; so no request ever meets a route to a
// cluster that is not there. THREAD: one. ERRORS: none; what is unknown gets an empty answer (EDS, RDS) or none (SDS).
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "envoy/service/discovery/v3/discovery.pb.h"
#include "translator/translate/translate.h"

namespace pinnace::translator {

using SteadyTime = std::chrono::steady_clock::time_point;
using envoy::service::discovery::v3::DeltaDiscoveryRequest;
using envoy::service::discovery::v3::DeltaDiscoveryResponse;
using envoy::service::discovery::v3::DiscoveryRequest;
using envoy::service::discovery::v3::DiscoveryResponse;

// What a proxy may see right now.
struct View {
  std::shared_ptr<const ResourceSet> resources;
  std::function<std::optional<Resource>(const std::string& name)> secret;

  // For EDS and RDS an empty resource stands for an unknown name.
  std::optional<Resource> find(Type type, const std::string& name) const;
  // For updates: what left the mesh is no news. Its cluster or listener is on the way out, and an empty answer before
  // that would fail the requests still under way.
  std::optional<Resource> current(Type type, const std::string& name) const;
};

std::optional<Type> type_of(std::string_view url);

struct Nack {
  Type type;
  std::string message;
};

class DeltaStream {
 public:
  // Longest wait for an acknowledgement before listeners and routes go out all the same.
  static constexpr std::chrono::seconds kMaxHold{2};

  // `secrets_only`: the SDS service, where nothing else is answered.
  explicit DeltaStream(bool secrets_only) : secrets_only_(secrets_only) {}

  std::optional<Nack> on_request(const DeltaDiscoveryRequest& request, const View& view, SteadyTime now,
                                 std::vector<DeltaDiscoveryResponse>& out);
  void on_update(const View& view, SteadyTime now, std::vector<DeltaDiscoveryResponse>& out);
  // Sends what was held too long. Call about once a second.
  void on_tick(const View& view, SteadyTime now, std::vector<DeltaDiscoveryResponse>& out);

 private:
  struct Subscription {
    bool active = false, wildcard = false;
    bool dirty = false;                        // the view changed since the last look
    std::map<std::string, std::string> known;  // name -> version the proxy has; "" when none yet
    std::string nonce;                         // of the response not yet acknowledged
  };
  Subscription& at(Type type) { return subscriptions_[static_cast<size_t>(type)]; }
  void pump(const View& view, SteadyTime now, std::vector<DeltaDiscoveryResponse>& out);
  // One response with everything that differs; `removals` may be held back.
  bool send_changes(Type type, const View& view, bool removals, bool even_if_empty,
                    std::vector<DeltaDiscoveryResponse>& out);
  void add(Type type, const std::string& name, const Resource& resource, DeltaDiscoveryResponse& response);
  void finish(Type type, const View& view, DeltaDiscoveryResponse response, std::vector<DeltaDiscoveryResponse>& out);
  bool settled(SteadyTime now);

  bool secrets_only_;
  std::array<Subscription, kTypes> subscriptions_;
  std::set<std::string> awaited_endpoints_;  // of clusters just sent, not yet asked for
  SteadyTime hold_until_{};
  bool removals_due_ = false;
  uint64_t next_nonce_ = 1;
};

class SotwStream {
 public:
  static constexpr std::chrono::seconds kMaxHold{2};

  explicit SotwStream(bool secrets_only) : secrets_only_(secrets_only) {}

  std::optional<Nack> on_request(const DiscoveryRequest& request, const View& view, SteadyTime now,
                                 std::vector<DiscoveryResponse>& out);
  void on_update(const View& view, SteadyTime now, std::vector<DiscoveryResponse>& out);
  void on_tick(const View& view, SteadyTime now, std::vector<DiscoveryResponse>& out);

 private:
  struct Subscription {
    bool active = false, wildcard = false, dirty = false;
    std::set<std::string> names;
    std::map<std::string, std::string> sent;  // name -> version
    std::string nonce;                        // of the last response
    bool acknowledged = true;
  };
  Subscription& at(Type type) { return subscriptions_[static_cast<size_t>(type)]; }
  void pump(const View& view, SteadyTime now, std::vector<DiscoveryResponse>& out);
  // Names whose content differs from what was sent; `gone`: something sent is no more.
  std::set<std::string> changes(Type type, const View& view, bool* gone);
  void send_clusters(const View& view, std::vector<DiscoveryResponse>& out);
  void send_changes(Type type, const View& view, std::vector<DiscoveryResponse>& out);
  void send(Type type, const View& view, const std::set<std::string>* only, std::vector<DiscoveryResponse>& out);

  bool secrets_only_;
  std::array<Subscription, kTypes> subscriptions_;
  // Clusters on their way out: the whole state is sent each time, so they stay part of it until the routes are changed.
  Resources leaving_;
  std::shared_ptr<const ResourceSet> last_;
  std::set<std::string> resend_endpoints_, awaited_endpoints_;
  SteadyTime hold_until_{};
  uint64_t next_nonce_ = 1;
};

}  // namespace pinnace::translator
