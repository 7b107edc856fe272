#include "tls/memory.h"

#include <malloc.h>
#include <openssl/crypto.h>

#include <cstdlib>

namespace pinnace::tls {
namespace {

// A record (RFC 8446 5.2: 2^14 bytes and some more) with OpenSSL's room around it; all such blocks have the larger
// size.
constexpr size_t kSmallest = 16 * 1024, kBlock = 17 * 1024;
constexpr size_t kKept = 8;

struct Kept {
  void* blocks[kKept];
  size_t count = 0;
  ~Kept() {
    while (count > 0) std::free(blocks[--count]);
    count = kKept;  // whoever frees later, at the thread's end, keeps nothing
  }
};

Kept& kept() {
  static thread_local Kept kept;
  return kept;
}

bool is_record(size_t size) { return size > kSmallest && size <= kBlock; }

void* take(size_t size, const char*, int) {
  if (size == 0) return nullptr;
  if (!is_record(size)) return std::malloc(size);
  Kept& here = kept();
  return here.count > 0 && here.count < kKept ? here.blocks[--here.count] : std::malloc(kBlock);
}

void give(void* memory, const char*, int) {
  if (!memory) return;
  size_t size = malloc_usable_size(memory);
  Kept& here = kept();
  if (size < kBlock || size >= kBlock + 1024 || here.count + 1 >= kKept) return std::free(memory);
  here.blocks[here.count++] = memory;
}

void* resize(void* memory, size_t size, const char* file, int line) {
  if (!memory) return take(size, file, line);
  if (size == 0) {
    give(memory, file, line);
    return nullptr;
  }
  return std::realloc(memory, is_record(size) ? kBlock : size);
}

}  // namespace

void keep_record_buffers() { CRYPTO_set_mem_functions(take, resize, give); }

}  // namespace pinnace::tls
