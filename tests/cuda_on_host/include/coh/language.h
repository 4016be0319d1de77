// Keywords, indices, barriers and fences of CUDA C++.
#pragma once
#include "coh/machine.h"

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __managed__
#undef __grid_constant__
#undef __launch_bounds__
#undef __cluster_dims__
#undef __noinline__
#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __noinline__ __attribute__((noinline))

// Thread-local, so that a library's shared arrays are one range of addresses, which is poisoned before a
// block starts and swapped between resident blocks. Plain under ASan, which puts red zones round each.
#ifdef __SANITIZE_ADDRESS__
#define __shared__ static
#else
#define __shared__ static thread_local
#endif

#define threadIdx (coh::thread_index())
#define blockIdx  (coh::block_index())
#define blockDim  (coh::block_dim())
#define gridDim   (coh::grid_dim())
#define warpSize  32

namespace coh {

COH_UNCHECKED inline uint3 thread_index() { return current->thread; }
COH_UNCHECKED inline uint3 block_index() { return current->block; }
COH_UNCHECKED inline dim3 block_dim() { return block_size; }
COH_UNCHECKED inline dim3 grid_dim() { return grid_size; }

// How many threads of the block came with a predicate.
struct Votes {
  int yes, all;
};
Votes sync_block(bool predicate, Place at);
void pause();  // lets other threads run

}  // namespace coh

inline void __syncthreads(coh::Place at = coh::here()) { coh::sync_block(false, at); }
inline int __syncthreads_count(int predicate, coh::Place at = coh::here()) {
  return coh::sync_block(predicate != 0, at).yes;
}
inline int __syncthreads_and(int predicate, coh::Place at = coh::here()) {
  const coh::Votes votes = coh::sync_block(predicate != 0, at);
  return votes.yes == votes.all;
}
inline int __syncthreads_or(int predicate, coh::Place at = coh::here()) {
  return coh::sync_block(predicate != 0, at).yes != 0;
}

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) { coh::pause(); }
inline long long clock64() { return 0; }
[[noreturn]] inline void __trap() { coh::fail("__trap()"); }
