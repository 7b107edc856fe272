// Transport: one bidirectional gRPC stream of serialised messages to a control plane. What carries it is behind this
// (upstream_transport.h). THREAD: control; callbacks arrive on the control thread too.
// LIFETIME: destroying it ends the stream; no callback comes after.
#pragma once

#include <functional>
#include <memory>
#include <string>

namespace pinnace::xds {

class Transport {
 public:
  struct Events {
    std::function<void(std::string message)> on_message;
    // The stream is over; `why` says how.
    std::function<void(std::string why)> on_closed;
  };

  virtual ~Transport() = default;
  virtual void send(std::string message) = 0;
};

// Opens streams to one cluster of the bootstrap.
class TransportFactory {
 public:
  virtual ~TransportFactory() = default;
  // `method`: "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
  virtual std::unique_ptr<Transport> open(const std::string& cluster, const std::string& method,
                                          Transport::Events events) = 0;
};

}  // namespace pinnace::xds
