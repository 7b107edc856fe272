// The TransportFactory over pinnace's own HTTP/2 and pools: a thread with an event loop and the clusters of control
// planes, on which the streams to them live, so that neither workers nor the control thread wait for the other.
// THREAD: control, but for what is said to be the loop's.
#pragma once

#include <boost/asio/io_context.hpp>
#include <map>
#include <set>
#include <thread>

#include "proxy/model/ids.h"
#include "proxy/model/update.h"
#include "proxy/upstream/cluster.h"
#include "tls/context.h"
#include "xds_client/transport.h"

namespace pinnace::xds {

class UpstreamTransportFactory final : public TransportFactory {
 public:
  UpstreamTransportFactory(boost::asio::io_context& control, stats::Store& store);
  ~UpstreamTransportFactory() override;

  // What workers are told. The loop takes over those clusters that streams have gone to.
  void apply(std::shared_ptr<const model::Update> update);
  std::unique_ptr<Transport> open(const std::string& cluster, const std::string& method,
                                  Transport::Events events) override;

 private:
  class Line;
  class LineTransport;

  struct Known {
    model::ClusterPtr config;
    model::EndpointsPtr endpoints;
    bool used = false;
  };

  void take_over(const model::Update& update);  // on the loop

  boost::asio::io_context& control_;
  std::map<uint32_t, Known> known_;  // by id
  std::map<std::string, uint32_t> ids_;
  base::EventLoop loop_;
  // On the loop.
  tls::ContextTable tls_;
  upstream::ClusterTable clusters_;
  std::set<std::shared_ptr<Line>> lines_;
  std::thread thread_;
};

}  // namespace pinnace::xds
