#include "pages.h"

#include <algorithm>
#include <cstdint>

#include "parallel.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace dal {

void prefer_huge_pages([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes,
                       [[maybe_unused]] int threads) {
#if defined(__linux__)
  constexpr uintptr_t page = 4096, huge = uintptr_t(2) << 20;
  const uintptr_t first = (uintptr_t(p) + page - 1) & ~(page - 1);
  const uintptr_t last = (uintptr_t(p) + bytes) & ~(page - 1);
  if (last < first + huge) return;
  madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  // One thread touches a page: two that write to a new one at a time would both clear it.
  const uintptr_t start = first & ~(huge - 1);
  parallel_for(int64_t((last - start + huge - 1) / huge), threads, [&](int64_t i, int) {
    uint8_t* const byte = reinterpret_cast<uint8_t*>(std::max(first, start + uintptr_t(i) * huge));
    __atomic_fetch_or(byte, uint8_t(0), __ATOMIC_RELAXED);
  });
#endif
}

}  // namespace dal
