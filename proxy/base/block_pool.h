// BlockPool: the 16 KiB blocks in which a worker keeps bytes that must wait; Slice: a counted part of one block.
// Counts are plain integers: a block never leaves its worker. THREAD: one worker. LIFETIME: the pool outlives its
// slices.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <utility>

namespace pinnace::base {

using Bytes = std::span<const uint8_t>;

class BlockPool {
 public:
  static constexpr size_t kBlockSize = 16 * 1024;
  static constexpr size_t kMaxFree = 64;  // 1 MiB is kept for reuse; the rest goes back

  struct alignas(std::max_align_t) Block {
    Block* next = nullptr;  // in a Chain, or in the free list
    BlockPool* pool = nullptr;
    uint32_t begin = 0, end = 0;  // the bytes in use
    uint8_t* data() { return reinterpret_cast<uint8_t*>(this + 1); }
    Bytes bytes() { return {data() + begin, end - begin}; }
    size_t room() const { return kCapacity - end; }
  };
  static constexpr size_t kCapacity = kBlockSize - sizeof(Block);

  BlockPool() = default;
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  ~BlockPool() {
    while (free_) std::free(std::exchange(free_, free_->next));
  }

  Block* take() {
    Block* block = free_;
    if (block) {
      free_ = block->next;
      free_count_--;
    } else {
      void* memory = std::malloc(kBlockSize);
      if (!memory) throw std::bad_alloc();
      block = new (memory) Block;
      block->pool = this;
    }
    block->next = nullptr;
    block->begin = block->end = 0;
    in_use_++;
    return block;
  }
  void give(Block* block) {
    in_use_--;
    if (free_count_ >= kMaxFree) {
      std::free(block);
      return;
    }
    block->next = free_;
    free_ = block;
    free_count_++;
  }
  size_t in_use() const { return in_use_; }

 private:
  Block* free_ = nullptr;
  size_t free_count_ = 0;
  size_t in_use_ = 0;
};

// A queue of bytes in blocks of one pool.
class Chain {
 public:
  explicit Chain(BlockPool& pool) : pool_(&pool) {}
  Chain(Chain&& other) noexcept
      : pool_(other.pool_),
        head_(std::exchange(other.head_, nullptr)),
        tail_(std::exchange(other.tail_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  Chain& operator=(Chain&& other) noexcept {
    if (this != &other) {
      clear();
      head_ = std::exchange(other.head_, nullptr);
      tail_ = std::exchange(other.tail_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  ~Chain() { clear(); }

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  void append(Bytes bytes) {
    while (!bytes.empty()) {
      if (!tail_ || tail_->room() == 0) push(pool_->take());
      size_t n = std::min(bytes.size(), tail_->room());
      std::memcpy(tail_->data() + tail_->end, bytes.data(), n);
      tail_->end += static_cast<uint32_t>(n);
      size_ += n;
      bytes = bytes.subspan(n);
    }
  }
  // Takes over the blocks of `other`, which is of the same pool.
  void append(Chain&& other) {
    if (other.empty()) return;
    (tail_ ? tail_->next : head_) = std::exchange(other.head_, nullptr);
    tail_ = std::exchange(other.tail_, nullptr);
    size_ += std::exchange(other.size_, 0);
  }
  Bytes front() const { return head_ ? head_->bytes() : Bytes{}; }
  // REQUIRES: n <= size().
  void drain(size_t n) {
    size_ -= n;
    while (n > 0 && head_) {
      size_t have = head_->end - head_->begin;
      if (n < have) {
        head_->begin += static_cast<uint32_t>(n);
        return;
      }
      n -= have;
      pop();
    }
    if (size_ == 0) clear();
  }
  void clear() {
    while (head_) pop();
    size_ = 0;
  }
  // Calls visit(Bytes) for each contiguous part, in order.
  template <class Visit>
  void each(Visit visit) const {
    for (auto* block = head_; block; block = block->next) visit(block->bytes());
  }
  const BlockPool::Block* first_block() const { return head_; }

 private:
  void push(BlockPool::Block* block) {
    (tail_ ? tail_->next : head_) = block;
    tail_ = block;
  }
  void pop() {
    auto* block = std::exchange(head_, head_->next);
    if (!head_) tail_ = nullptr;
    pool_->give(block);
  }

  BlockPool* pool_;
  BlockPool::Block* head_ = nullptr;
  BlockPool::Block* tail_ = nullptr;
  size_t size_ = 0;
};

}  // namespace pinnace::base
