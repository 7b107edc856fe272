// LocalRef: a worker's pin on a piece of shared configuration. The worker holds one shared_ptr for all its pins and
// counts them without atomics; the last pin lets go of the shared_ptr. THREAD: one worker; never crosses threads.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

namespace pinnace::base {

template <class T>
class LocalRef {
 public:
  LocalRef() = default;
  explicit LocalRef(std::shared_ptr<const T> shared) : node_(shared ? new Node{std::move(shared), 1} : nullptr) {}
  LocalRef(const LocalRef& other) : node_(other.node_) {
    if (node_) node_->pins++;
  }
  LocalRef(LocalRef&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  LocalRef& operator=(LocalRef other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~LocalRef() {
    if (node_ && --node_->pins == 0) delete node_;
  }

  const T* get() const { return node_ ? node_->shared.get() : nullptr; }
  const T* operator->() const { return get(); }
  const T& operator*() const { return *get(); }
  explicit operator bool() const { return node_ != nullptr; }
  const std::shared_ptr<const T>& shared() const { return node_->shared; }

 private:
  struct Node {
    std::shared_ptr<const T> shared;
    uint32_t pins;
  };
  Node* node_ = nullptr;
};

}  // namespace pinnace::base
