// Arena: memory of one request, given back all at once. Blocks come from the worker's pool and return to it, so that a
// kept-alive request with an ordinary head allocates nothing. Destructors are not run: plain data only.
// THREAD: one worker. LIFETIME: everything taken lives until release().
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "proxy/base/block_pool.h"

namespace pinnace::base {

class Arena {
 public:
  explicit Arena(BlockPool& pool) : pool_(&pool) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { release(); }

  void* take(size_t size, size_t align = alignof(std::max_align_t)) {
    if (blocks_) {
      size_t at = (blocks_->end + align - 1) & ~(align - 1);
      if (at + size <= BlockPool::kCapacity) {
        blocks_->end = static_cast<uint32_t>(at + size);
        return blocks_->data() + at;
      }
    }
    return take_slow(size);
  }
  char* take_chars(size_t size) { return static_cast<char*>(take(size, 1)); }
  template <class T>
  T* take_array(size_t count) {
    return static_cast<T*>(take(count * sizeof(T), alignof(T)));
  }
  std::string_view copy(std::string_view text) {
    if (text.empty()) return {};
    char* to = take_chars(text.size());
    std::memcpy(to, text.data(), text.size());
    return {to, text.size()};
  }
  void release() {
    while (blocks_) {
      auto* next = blocks_->next;
      pool_->give(blocks_);
      blocks_ = next;
    }
    while (large_) {
      auto* next = large_->next;
      std::free(large_);
      large_ = next;
    }
  }

 private:
  struct Large {
    Large* next;
    alignas(std::max_align_t) uint8_t data[1];
  };

  void* take_slow(size_t size) {
    if (size > BlockPool::kCapacity / 2) {  // its own allocation; a head this large is not the steady state
      auto* large = static_cast<Large*>(std::malloc(sizeof(Large) + size));
      if (!large) throw std::bad_alloc();
      large->next = large_;
      large_ = large;
      return large->data;
    }
    auto* block = pool_->take();
    block->next = blocks_;
    block->end = static_cast<uint32_t>(size);
    blocks_ = block;
    return block->data();
  }

  BlockPool* pool_;
  BlockPool::Block* blocks_ = nullptr;
  Large* large_ = nullptr;
};

}  // namespace pinnace::base
