#include "proxy/net/socket_set.h"

#include <algorithm>

namespace pinnace::net {

using base::Address;

Result<std::shared_ptr<SocketSet>> SocketSet::open(const std::vector<Address>& addresses, size_t workers,
                                                   const ListenOptions& options, const std::vector<Address>& ours) {
  std::shared_ptr<SocketSet> set(new SocketSet);
  set->workers_ = workers;
  set->wanted_ = addresses;
  set->options_ = options;
  set->loads_ = std::make_unique<std::atomic<uint32_t>[]>(workers);
  for (const Address& wanted : addresses) {
    Address address = wanted;
    // Another process that listens here too would silently take a share of the connections (SO_REUSEPORT); see whether
    // the address is free before sharing it among our own workers.
    bool held = std::find(ours.begin(), ours.end(), address) != ours.end();
    if (address.is_ip() && address.port() != 0 && !held) {
      ListenOptions alone = options;
      alone.reuse_port = false;
      auto probe = bind_listener(address, alone);
      if (!probe) return probe.error();
      ::close(*probe);
    }
    for (size_t worker = 0; worker < workers; worker++) {
      bool share = worker > 0 && (!address.is_ip() || !options.reuse_port);
      if (share) {
        int copy = dup(set->fds_.back());
        if (copy < 0) return error("no descriptors left to listen on " + address.text() + " (ulimit -n)");
        set->fds_.push_back(copy);
        continue;
      }
      auto fd = bind_listener(address, options);
      if (!fd) return fd.error();
      set->fds_.push_back(*fd);
      if (address.is_ip() && address.port() == 0) address = socket_name(*fd);
    }
    set->addresses_.push_back(address);
  }
  return set;
}

}  // namespace pinnace::net
