#include "proxy/http/h2/memory.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace pinnace::http::h2 {
namespace {

constexpr size_t kHeader = 16;                  // keeps what follows aligned for any type
constexpr size_t kSmallest = 64, kClasses = 8;  // 64 bytes to 8 KiB; larger ones are malloc's
constexpr size_t kKeptBytes = 512 * 1024;       // of each class and thread

struct Block {
  union {
    uint64_t size_class;
    Block* next;
  };
  void* memory() { return reinterpret_cast<char*>(this) + kHeader; }
  static Block* of(void* memory) { return reinterpret_cast<Block*>(static_cast<char*>(memory) - kHeader); }
};

constexpr size_t class_size(size_t size_class) { return kSmallest << size_class; }

struct Lists {
  struct List {
    Block* head = nullptr;
    size_t count = 0;
  };
  std::array<List, kClasses> lists;

  ~Lists() {
    for (List& list : lists) {
      while (Block* block = list.head) {
        list.head = block->next;
        std::free(block);
      }
    }
  }
};

Lists& lists() {
  static thread_local Lists lists;
  return lists;
}

void* take(size_t size) {
  size_t need = size + kHeader;
  size_t size_class = need <= kSmallest ? 0 : std::bit_width((need - 1) / kSmallest);
  if (size_class >= kClasses) {
    auto* block = static_cast<Block*>(std::malloc(need));
    if (!block) return nullptr;
    block->size_class = kClasses;
    return block->memory();
  }
  auto& list = lists().lists[size_class];
  Block* block = list.head;
  if (block) {
    list.head = block->next;
    list.count--;
  } else {
    block = static_cast<Block*>(std::malloc(class_size(size_class)));
    if (!block) return nullptr;
  }
  block->size_class = size_class;
  return block->memory();
}

void give(void* memory) {
  if (!memory) return;
  Block* block = Block::of(memory);
  size_t size_class = block->size_class;
  if (size_class >= kClasses) return std::free(block);
  auto& list = lists().lists[size_class];
  if (list.count * class_size(size_class) >= kKeptBytes) return std::free(block);
  block->next = list.head;
  list.head = block;
  list.count++;
}

void* take_zeroed(size_t count, size_t size) {
  if (size > 0 && count > SIZE_MAX / 2 / size) return nullptr;
  void* memory = take(count * size);
  if (memory) std::memset(memory, 0, count * size);
  return memory;
}

void* resize(void* memory, size_t size) {
  if (!memory) return take(size);
  Block* block = Block::of(memory);
  if (block->size_class >= kClasses) {
    auto* larger = static_cast<Block*>(std::realloc(block, size + kHeader));
    return larger ? larger->memory() : nullptr;
  }
  size_t room = class_size(block->size_class) - kHeader;
  if (size <= room) return memory;
  void* fresh = take(size);
  if (!fresh) return nullptr;
  std::memcpy(fresh, memory, room);
  give(memory);
  return fresh;
}

}  // namespace

nghttp2_mem* session_memory() {
  static nghttp2_mem memory = {
      nullptr,
      [](size_t size, void*) { return take(size); },
      [](void* at, void*) { give(at); },
      [](size_t count, size_t size, void*) { return take_zeroed(count, size); },
      [](void* at, size_t size, void*) { return resize(at, size); },
  };
  return &memory;
}

}  // namespace pinnace::http::h2
