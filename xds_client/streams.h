// Streams: every xDS stream of the process: the ADS stream, and for resources with an api_config_source one stream each
// (as Envoy does, so that any server understands it). Who needs a resource says so here and hears of it in a Batch.
// THREAD: control.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <vector>

#include "proxy/model/config_source.h"
#include "xds_client/stream.h"

namespace pinnace::xds {

inline constexpr const char* kClusterType = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
inline constexpr const char* kEndpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
inline constexpr const char* kListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener";
inline constexpr const char* kRouteType = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
inline constexpr const char* kSecretType = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
inline constexpr const char* kRuntimeType = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
inline constexpr const char* kExtensionType = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

class Streams {
 public:
  using OnBatch = std::function<void(const model::ConfigSource&, Batch)>;

  Streams(boost::asio::io_context& control, TransportFactory& transports, envoy::config::core::v3::Node node,
          OnBatch on_batch);
  ~Streams();

  // ADS: where it is and what hears of its ups and downs. It connects at start().
  void set_ads(const model::ConfigSource& source, std::function<void(bool)> connected);
  bool has_ads() const { return ads_ != nullptr; }
  // Wants everything of the type (CDS, LDS).
  void want_all(const model::ConfigSource& source, const std::string& type_url);
  // Wants exactly these of the type from now on, from wherever they come.
  void want(const std::string& type_url, const std::set<model::ResourceRef>& resources);
  // Opens ADS, after what was wanted so far; nothing connects before. Clusters must be published by then.
  void start();
  // Answers a batch, if the stream it came on is still there. `rejected` is empty for an ACK.
  void answer(const Batch& batch, const std::string& rejected);
  // Sends what is to be said over ADS.
  void flush();

 private:
  using Key = std::tuple<model::ConfigSource, std::string, std::string>;  // source, type, name ("*": all)

  void open(const Key& key);
  std::unique_ptr<XdsStream> make(XdsStream::Settings settings, const model::ConfigSource& source);

  boost::asio::io_context& control_;
  TransportFactory& transports_;
  envoy::config::core::v3::Node node_;
  OnBatch on_batch_;
  std::unique_ptr<XdsStream> ads_;
  std::map<Key, std::unique_ptr<XdsStream>> own_;
  // No longer wanted; they end when the control thread is idle.
  std::shared_ptr<std::vector<std::unique_ptr<XdsStream>>> doomed_ =
      std::make_shared<std::vector<std::unique_ptr<XdsStream>>>();
  uint64_t last_id_ = 0;
  bool started_ = false;
};

}  // namespace pinnace::xds
