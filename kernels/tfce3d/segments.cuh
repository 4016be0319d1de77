// Running sums that begin anew at every segment, in a fixed order of additions.
//
//   scan_chunk, by a block   sums within kThreads elements, and what the chunk passes on
//   carry_on                 -> what every chunk takes over from those before it
//
// An element takes over what its chunk does, unless its segment begins within the chunk.
#pragma once
#include "tfce3d/branches.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kCarryThreads = 1024;

// The sum of some neighbouring elements since the last beginning among them.
template <class T>
struct Running {
  T sum;
  int begins;  // whether a segment begins among them
};

// a, then b.
template <class T>
__device__ __forceinline__ Running<T> then(Running<T> a, Running<T> b) {
  return {b.begins ? b.sum : a.sum + b.sum, a.begins | b.begins};
}

// By all threads of a block: inclusive sums, and those of the whole block. shared: one a warp.
template <class T>
__device__ __forceinline__ Running<T> scan_block(Running<T> mine, Running<T>* shared, Running<T>& all) {
  const int lane = int(threadIdx.x % kWarp), warp = int(threadIdx.x / kWarp);
  const int warps = int(blockDim.x / kWarp);
  for (int step = 1; step < kWarp; step *= 2) {
    const Running<T> before{__shfl_up_sync(kAllLanes, mine.sum, step),
                            __shfl_up_sync(kAllLanes, mine.begins, step)};
    if (lane >= step) mine = then(before, mine);
  }
  if (lane == kWarp - 1) shared[warp] = mine;
  __syncthreads();
  all = {T(0), 0};
  for (int i = 0; i < warps; ++i) {
    if (i == warp) mine = then(all, mine);
    all = then(all, shared[i]);
  }
  __syncthreads();
  return mine;
}

// Element e of a volume: value(volume, e) -> sums, and a total for each chunk. Elements are the threads'
// places, so that the sums of one chunk are one block's.
template <class T>
__device__ __forceinline__ void scan_chunk(const Place& p, Running<T> mine, T* sum, Running<T>* chunks) {
  __shared__ Running<T> shared[kThreads / kWarp];
  Running<T> all;
  mine = scan_block(mine, shared, all);
  if (p.inside) *sum = mine.sum;
  if (threadIdx.x == 0) chunks[blockIdx.x] = all;
}

// chunks: volumes x n, each replaced by what those before it pass on; a block a volume.
template <class T>
__global__ void __launch_bounds__(kCarryThreads) carry_on(Running<T>* chunks, uint32_t n) {
  __shared__ Running<T> shared[kCarryThreads / kWarp];
  chunks += int64_t(blockIdx.x) * n;
  Running<T> before{T(0), 0};
  for (uint32_t start = 0; start < n; start += kCarryThreads) {
    const uint32_t i = start + threadIdx.x;
    const Running<T> own = i < n ? chunks[i] : Running<T>{T(0), 0};
    Running<T> all, up_to = then(before, scan_block(own, shared, all));
    const Running<T> last = before;
    before = then(before, all);
    // exclusive: what the thread before has
    Running<T> exclusive{__shfl_up_sync(kAllLanes, up_to.sum, 1),
                         __shfl_up_sync(kAllLanes, up_to.begins, 1)};
    if (threadIdx.x % kWarp == kWarp - 1) shared[threadIdx.x / kWarp] = up_to;
    __syncthreads();
    if (threadIdx.x % kWarp == 0) exclusive = threadIdx.x ? shared[threadIdx.x / kWarp - 1] : last;
    __syncthreads();
    if (i < n) chunks[i] = exclusive;
  }
}

}  // namespace
}  // namespace cuda
}  // namespace dal
