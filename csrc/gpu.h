// What every CUDA kernel source includes; nothing else of CUDA.
//
// The same source is compiled by nvcc for the GPU and by g++ for the tests, which run each block's
// threads as fibers on the CPU (tests/cuda_on_host). So that both mean the same:
//
// - DAL_LAUNCH((kernel<T>), grid, block, shared_bytes, stream, arguments...) starts a kernel and
//   DAL_DYNAMIC_SHARED(T, name) names its dynamic shared memory: no <<<>>>, no extern __shared__.
// - Concurrent writes to one address go through atomics; what is written concurrently is read through
//   volatile or an atomic. No benign races.
// - No return before a barrier or a shuffle: predicate instead. Full masks; blocks of whole warps.
// - No block waits for another: that is a second kernel.
// - Architecture-specific instructions sit behind a __device__ function with a portable fallback.
// - Blocks are counted in 64 bits; grid_size(blocks) refuses more than a grid has.
// - A launcher neither allocates nor synchronises: it can be captured into a CUDA graph.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "cuda_errors.h"
#include "dtype.h"
#include "integers.h"

#ifdef __CUDACC__
#define DAL_LAUNCH(kernel, grid, block, shared, stream, ...) \
  (::dal::cuda::check_before_launch(), kernel<<<grid, block, shared, stream>>>(__VA_ARGS__))
#define DAL_DYNAMIC_SHARED(T, name)                                 \
  extern __shared__ __align__(16) unsigned char dal_shared_bytes[]; \
  T* name = reinterpret_cast<T*>(dal_shared_bytes)
#else
#define DAL_LAUNCH(kernel, grid, block, shared, stream, ...) \
  (::dal::cuda::check_before_launch(),                       \
   coh::launch(#kernel, kernel, grid, block, shared, stream, __VA_ARGS__))
#define DAL_DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(coh::dyn_smem())
#endif

namespace dal {
namespace cuda {

// Call after every launch.
inline void check_launch(const char* kernel) {
  check_call(cudaGetLastError(), std::string("CUDA kernel ") + kernel);
}

// `blocks` as a grid's x, the only one of its sizes that may exceed 65535. Throws std::invalid_argument,
// which Python sees as ValueError: blocks that are not launched would leave their output unwritten.
inline unsigned grid_size(int64_t blocks) {
  if (blocks > INT32_MAX)
    throw std::invalid_argument("these volumes need " + std::to_string(blocks) +
                                " blocks, and a grid has not more than 2147483647 blocks: split the batch");
  return unsigned(blocks);
}

// The sides of a volume, or how many blocks make it up, for arithmetic of 32 bits: a division of 64 takes
// ten times as many instructions.
struct Sides {
  int depth, height, width;

  template <class Shape>
  static Sides of(const Shape& s) {
    constexpr int64_t kLongest = int64_t(1) << 30;
    if (s.depth > kLongest || s.height > kLongest || s.width > kLongest)
      throw std::invalid_argument("a side has more than 2^30 voxels");
    return {int(s.depth), int(s.height), int(s.width)};
  }
};

// Calls f(type_tag<T>{}) for the device's C++ type of `dtype`; float64 is not computed on GPUs.
template <class F>
auto with_gpu_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(type_tag<float>{});
    case DType::f16:
      return f(type_tag<__half>{});
    case DType::bf16:
      return f(type_tag<__nv_bfloat16>{});
    default:
      throw std::invalid_argument("the CUDA kernels take float32, float16 and bfloat16");
  }
}

__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(__half v) { return __half2float(v); }
__device__ __forceinline__ float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }

// from_float<T>(v): round to nearest even.
template <class T>
__device__ __forceinline__ T from_float(float v);
template <>
__device__ __forceinline__ float from_float<float>(float v) {
  return v;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float v) {
  return __float2half_rn(v);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float v) {
  return __float2bfloat16_rn(v);
}

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kMultiprocessors = 132;  // of an H100 and of an H200

// Inclusive sum over the lanes of a warp up to this one.
__device__ __forceinline__ uint32_t warp_scan(uint32_t value, int lane) {
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const uint32_t below = __shfl_up_sync(kAllLanes, value, step);
    if (lane >= step) value += below;
  }
  return value;
}

inline cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace cuda
}  // namespace dal
