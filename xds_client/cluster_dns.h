// ClusterDns: resolves the names of one version of a STRICT_DNS or LOGICAL_DNS cluster, again and again.
// THREAD: control. LIFETIME: shared; callbacks of the resolver and the timer do not come after it has gone.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/rng.h"
#include "xds_client/compile/cluster.h"
#include "xds_client/dns.h"

namespace pinnace::xds {

class ClusterDns : public std::enable_shared_from_this<ClusterDns> {
 public:
  // `changed`: after each round of answers, from within the resolver.
  ClusterDns(boost::asio::io_context& control, DnsResolver& resolver, const compile::CompiledCluster& cluster,
             std::function<void()> changed);

  // Starts a round of questions. REQUIRES: none runs.
  void resolve();
  // All names were answered once, well or not.
  bool answered() const { return answered_; }
  model::EndpointsPtr endpoints() const;

 private:
  void take(size_t target, const DnsAnswer& answer);
  void round_done();

  boost::asio::steady_timer timer_;
  DnsResolver& resolver_;
  const std::string name_;
  const bool logical_;  // one address at a time
  const std::vector<compile::DnsTarget> targets_;
  const compile::DnsSettings settings_;
  const uint32_t overprovisioning_percent_;
  const std::function<void()> changed_;
  base::Rng rng_;
  std::vector<std::vector<base::Address>> answers_;  // per target
  size_t pending_ = 0;
  uint64_t least_ttl_s_ = 0;
  bool answered_ = false;
};

}  // namespace pinnace::xds
