// XdsStream: one xDS stream that is always there: a Subscription over a Transport, reconnected with jittered back-off.
// While it is away the last configuration stays. THREAD: control.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>

#include "proxy/base/rng.h"
#include "xds_client/subscription.h"
#include "xds_client/transport.h"

namespace pinnace::xds {

class XdsStream {
 public:
  struct Settings {
    uint64_t id = 0;    // its batches' origin
    std::string label;  // for logs: "ADS", "SDS from sds-grpc"
    std::string cluster;
    std::string method;
    bool delta = true;
  };

  XdsStream(boost::asio::io_context& control, TransportFactory& transports, Settings settings,
            envoy::config::core::v3::Node node, std::function<void(Batch)> on_batch);

  void start() { connect(); }
  uint64_t id() const { return settings_.id; }
  Subscription& subscription() { return subscription_; }
  // Sends what the subscription has to say.
  void flush();
  bool connected() const { return responded_; }
  // Called when the stream begins to answer and when it ends.
  void on_connected_change(std::function<void(bool)> changed) { changed_ = std::move(changed); }

 private:
  void connect();
  void on_message(const std::string& message);
  void on_closed(const std::string& why);

  boost::asio::io_context& control_;
  TransportFactory& transports_;
  Settings settings_;
  Subscription subscription_;
  std::function<void(Batch)> on_batch_;
  std::function<void(bool)> changed_;
  std::unique_ptr<Transport> transport_;
  boost::asio::steady_timer timer_;
  base::Rng rng_;
  uint32_t failures_ = 0;
  std::shared_ptr<const bool> alive_ = std::make_shared<bool>(true);
  bool responded_ = false;  // on this stream
};

}  // namespace pinnace::xds
