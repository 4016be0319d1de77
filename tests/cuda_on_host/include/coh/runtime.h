// What nvcc's cuda_runtime.h adds to the C API, and how a test steers the machine.
#pragma once
#include "coh/machine.h"

namespace coh {
cudaError_t allow_shared_bytes(const void* kernel, int bytes);
}  // namespace coh

template <class T>
cudaError_t cudaMalloc(T** pointer, size_t bytes) {
  return ::cudaMalloc(reinterpret_cast<void**>(pointer), bytes);
}
template <class... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value) {
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize)
    return coh::allow_shared_bytes(reinterpret_cast<const void*>(kernel), value);
  return cudaSuccess;
}
// The launchers must not depend on it: any number of resident blocks is right.
template <class... P>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void (*)(P...), int, size_t) {
  *blocks = 2;
  return cudaSuccess;
}

extern "C" {
// order: 0 ascending, 1 descending, 2 random, 3 warps far apart. preempt: chances in 1000 that another
// thread runs first, at every atomic and, in race builds, at every load and store. resident: blocks that
// run side by side. Forgets what earlier launches reported.
void coh_config(int order, uint64_t seed, int preempt, int resident);
uint64_t coh_races();  // accesses that raced since then
uint64_t coh_switches();  // from one thread to another
const char* coh_message();  // of the last launch that failed, or ""
}
