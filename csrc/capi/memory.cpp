#include "capi/memory.h"

#include <cstdlib>

#include "capi/dal_fast.h"
#include "capi/failure.h"

namespace dal {

void* Memory::take(size_t bytes) const {
  void* memory = nullptr;
  if (allocate_)
    memory = allocate_(user_, bytes, kAlignment);
  else if (posix_memalign(&memory, kAlignment, bytes))
    memory = nullptr;
  if (!memory) fail(DAL_MEMORY, "out-of-memory", "there is no memory for %zu bytes more", bytes);
  if (reinterpret_cast<uintptr_t>(memory) % kAlignment) {
    give(memory, bytes);
    fail(DAL_ARGUMENT, "value", "the allocator gave memory that is not aligned to %zu bytes", kAlignment);
  }
  return memory;
}

void Memory::give(void* memory, size_t bytes) const noexcept {
  if (allocate_)
    release_(user_, memory, bytes);
  else
    std::free(memory);
}

}  // namespace dal
