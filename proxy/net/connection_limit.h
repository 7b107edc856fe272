// ConnectionLimit: how many client connections the process bears at a time, over all listeners and workers:
// DownstreamConnectionsConfig.max_active_downstream_connections, or the runtime key
// overload.global_downstream_max_connections. ConnectionSlot: what one connection takes up, given back when it is
// destroyed: one of the limit, where a finite one is set, and a share of its worker's load (SocketSet).
// THREAD: any. LIFETIME: the limit outlives its slots.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace pinnace::net {

class ConnectionLimit {
 public:
  explicit ConnectionLimit(uint64_t most) : most_(most) {}
  bool take() {
    if (count_.fetch_add(1, std::memory_order_relaxed) < most_) return true;
    give();
    return false;
  }
  void give() { count_.fetch_sub(1, std::memory_order_relaxed); }

 private:
  const uint64_t most_;
  std::atomic<uint64_t> count_{0};
};

class ConnectionSlot {
 public:
  using Load = std::shared_ptr<std::atomic<uint32_t>>;

  ConnectionSlot() = default;  // of a connection that is not counted
  // REQUIRES: take() was true.
  explicit ConnectionSlot(ConnectionLimit& limit) : limit_(&limit) {}
  ConnectionSlot(ConnectionSlot&& other) noexcept
      : limit_(std::exchange(other.limit_, nullptr)), load_(std::move(other.load_)) {}
  ConnectionSlot& operator=(ConnectionSlot&& other) noexcept {
    std::swap(limit_, other.limit_);
    std::swap(load_, other.load_);
    return *this;
  }
  ~ConnectionSlot() {
    if (limit_) limit_->give();
    if (load_) load_->fetch_sub(1, std::memory_order_relaxed);
  }
  bool borne() const { return load_ != nullptr; }
  // Counts the connection there. REQUIRES: not borne().
  void bear(Load load) {
    load_ = std::move(load);
    load_->fetch_add(1, std::memory_order_relaxed);
  }

 private:
  ConnectionLimit* limit_ = nullptr;
  Load load_;
};

}  // namespace pinnace::net
