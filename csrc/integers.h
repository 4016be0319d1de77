// Integer arithmetic that kernels on the CPU and on the GPU share.
//
// Inlined always: a copy that the linker could share would have been compiled for one instruction set.
#pragma once
#include <cstdint>

#ifdef __CUDACC__
#define DAL_EVERYWHERE __host__ __device__ __forceinline__
#else
#define DAL_EVERYWHERE inline __attribute__((always_inline))
#endif

namespace dal {

// a / b rounded up, for a >= 0 and b > 0.
DAL_EVERYWHERE constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Index of the voxel that stands at position i of an axis of n under scipy's "reflect"
// (the edge voxel repeats: c b a | a b c | c b a), for any i and any n >= 1.
template <class Int>
DAL_EVERYWHERE Int reflect(Int i, Int n) {
  while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
  return i;
}

}  // namespace dal
