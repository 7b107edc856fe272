// DnsResolver: asynchronous name resolution by c-ares on the control thread's io_context.
// THREAD: control. LIFETIME: callbacks of a destroyed resolver do not come.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/address.h"
#include "xds_client/compile/cluster.h"

namespace pinnace::xds {

struct DnsAnswer {
  bool ok = false;
  std::string failure;
  std::vector<base::Address> addresses;  // port 0
  uint64_t ttl_s = 0;                    // the least of the records'
};

class DnsResolver {
 public:
  explicit DnsResolver(boost::asio::io_context& control);
  ~DnsResolver();
  void resolve(const std::string& name, compile::DnsSettings::Family family, std::function<void(DnsAnswer)> done);

 private:
  class Channel;
  std::unique_ptr<Channel> channel_;
};

}  // namespace pinnace::xds
