// Large buffers on huge pages: 78 MB of fresh memory cost 19,000 page faults, or 38.
#pragma once
#include <cstddef>

namespace dal {

// A hint, ignored where the system does not know it; new pages are cleared here, by all threads. The buffer
// keeps its contents.
void prefer_huge_pages(void* p, size_t bytes, int threads);

}  // namespace dal
