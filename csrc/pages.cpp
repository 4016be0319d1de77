#include "pages.h"

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace dal {

void prefer_huge_pages([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
  constexpr uintptr_t page = 4096, huge = uintptr_t(2) << 20;
  const uintptr_t first = (uintptr_t(p) + page - 1) & ~(page - 1);
  const uintptr_t last = (uintptr_t(p) + bytes) & ~(page - 1);
  if (last >= first + huge) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

}  // namespace dal
