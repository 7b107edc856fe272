// DnsResolver: asynchronous name resolution by c-ares on the control thread's io_context.
// THREAD: control. LIFETIME: callbacks of a destroyed resolver do not come.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/address.h"
#include "xds_client/compile/cluster.h"

namespace pinnace::xds {

struct DnsAnswer {
  bool ok = false;                       // also when there is no such name, or nothing by it: then without addresses
  std::string failure;                   // in words, where there are no addresses
  std::vector<base::Address> addresses;  // port 0
  uint64_t ttl_s = 0;                    // the least of the records'
};

class DnsResolver {
 public:
  explicit DnsResolver(boost::asio::io_context& control);
  ~DnsResolver();
  // May answer before it returns.
  void resolve(const std::string& name, const compile::DnsSettings& settings, std::function<void(DnsAnswer)> done);

 private:
  class Channel;
  boost::asio::io_context& control_;
  std::map<compile::DnsServers, std::unique_ptr<Channel>> channels_;
};

}  // namespace pinnace::xds
