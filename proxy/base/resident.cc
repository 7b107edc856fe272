#include "proxy/base/resident.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

namespace pinnace::base {
namespace {

// Segments that nothing writes to: what is dropped of them is read from its file again. Relocated constants are in
// segments that are writable here (PT_GNU_RELRO protects them later), and stay.
int drop_clean_segments(dl_phdr_info* object, size_t, void*) {
  auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const auto& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0 || segment.p_filesz == 0) continue;
    uintptr_t start = (object->dlpi_addr + segment.p_vaddr) & ~(page - 1);
    uintptr_t end = (object->dlpi_addr + segment.p_vaddr + segment.p_memsz) & ~(page - 1);
    if (end > start) madvise(reinterpret_cast<void*>(start), end - start, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void give_back_memory() {
  malloc_trim(0);
  dl_iterate_phdr(drop_clean_segments, nullptr);
}

}  // namespace pinnace::base
