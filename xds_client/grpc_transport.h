// The TransportFactory on the gRPC library: a channel per cluster, kept while streams come and go.
// THREAD: control; gRPC's own threads only post to it.
#pragma once

#include <boost/asio/io_context.hpp>
#include <map>
#include <memory>
#include <string>

#include "xds_client/transport.h"

namespace grpc {
class Channel;
}

namespace pinnace::xds {

class GrpcTransportFactory final : public TransportFactory {
 public:
  // `targets`: cluster name → gRPC target ("unix:/path", "ipv4:1.2.3.4:15010", "dns:///istiod:15010").
  GrpcTransportFactory(boost::asio::io_context& control, std::map<std::string, std::string> targets);
  ~GrpcTransportFactory() override;

  std::unique_ptr<Transport> open(const std::string& cluster, const std::string& method,
                                  Transport::Events events) override;

 private:
  boost::asio::io_context& control_;
  std::map<std::string, std::string> targets_;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;
};

}  // namespace pinnace::xds
