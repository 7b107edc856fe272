// SocketSet: the listening sockets of one listener, one per worker and address, kept across updates of the listener so
// that nothing queued in them is lost. Closed when the last user lets go.
// THREAD: made on the control thread; each worker uses its own descriptors.
#pragma once

#include <unistd.h>

#include <atomic>
#include <memory>
#include <vector>

#include "proxy/net/socket.h"

namespace pinnace::net {

class SocketSet {
 public:
  // ERRORS: an address cannot be bound; nothing stays open. Port 0 is bound once and then shared by all workers.
  // `ours`: addresses that this process has bound already, by sockets that these take the place of (reuse_port).
  static Result<std::shared_ptr<SocketSet>> open(const std::vector<base::Address>& addresses, size_t workers,
                                                 const ListenOptions& options,
                                                 const std::vector<base::Address>& ours = {});
  ~SocketSet() {
    for (int fd : fds_) ::close(fd);
  }

  const std::vector<base::Address>& addresses() const { return addresses_; }
  // What open() was asked for.
  const std::vector<base::Address>& wanted() const { return wanted_; }
  const ListenOptions& options() const { return options_; }
  // One descriptor per address, for this worker.
  std::vector<int> of(size_t worker) const {
    std::vector<int> out;
    for (size_t i = 0; i < addresses_.size(); i++) out.push_back(fds_[i * workers_ + worker]);
    return out;
  }
  // Connections that came by these sockets and are this worker's, to hand one to an idler worker.
  std::shared_ptr<std::atomic<uint32_t>> load(size_t worker) const { return {loads_, &loads_[worker]}; }
  uint32_t load_of(size_t worker) const { return loads_[worker].load(std::memory_order_relaxed); }
  size_t workers() const { return workers_; }

 private:
  SocketSet() = default;

  size_t workers_ = 0;
  std::vector<base::Address> wanted_, addresses_;  // the latter as bound
  ListenOptions options_;
  std::vector<int> fds_;
  std::shared_ptr<std::atomic<uint32_t>[]> loads_;  // outlives the sockets
};

}  // namespace pinnace::net
