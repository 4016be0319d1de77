// The mean over 27 voxels that lie kStep apart, on a GPU: a block makes kWide x kHigh voxels of one plane.
// Sums of three planes go to shared memory with a border of kStep voxels, sums of three of its rows to a
// second array, and three of those are summed on the way to memory. Sums have the CPU's order, centre,
// before, after: the same bits.
#include <type_traits>

#include "boxmean/boxmean.h"
#include "gpu.h"

namespace dal {
namespace cuda {
namespace {

constexpr int kWide = 32, kHigh = 32, kThreads = 256;

// x at `at` and what lies `apart` values before and after it, where there is such a thing.
__device__ __forceinline__ float three_planes(const float* __restrict__ at, int64_t apart, bool before,
                                              bool after) {
  float sum = *at;
  if (before) sum += at[-apart];
  if (after) sum += at[apart];
  return sum;
}

template <int kStep>
__global__ void __launch_bounds__(kThreads)
    box_mean_kernel(const float* __restrict__ x, float* __restrict__ out, Sides s, Sides blocks) {
  constexpr int kWideIn = kWide + 2 * kStep, kHighIn = kHigh + 2 * kStep;
  __shared__ float planes[kHighIn * kWideIn], rows[kHigh * kWideIn];
  unsigned block = blockIdx.x;
  const int column = int(block % unsigned(blocks.width)) * kWide;
  block /= unsigned(blocks.width);
  const int row = int(block % unsigned(blocks.height)) * kHigh;
  block /= unsigned(blocks.height);
  const int plane = int(block % unsigned(blocks.depth));
  const int64_t volume = block / unsigned(blocks.depth), area = int64_t(s.height) * s.width;
  const int64_t first = (volume * s.depth + plane) * area;
  const bool before = plane >= kStep, after = plane + kStep < s.depth;
  x += first, out += first;

#pragma unroll
  for (int start = 0; start < kHighIn * kWideIn; start += kThreads) {
    const int i = start + int(threadIdx.x);
    if (i >= kHighIn * kWideIn) continue;
    const int h = row + i / kWideIn - kStep, w = column + i % kWideIn - kStep;
    const bool inside = h >= 0 && h < s.height && w >= 0 && w < s.width;
    planes[i] = inside ? three_planes(x + (h * s.width + w), kStep * area, before, after) : 0.f;
  }
  __syncthreads();
#pragma unroll
  for (int start = 0; start < kHigh * kWideIn; start += kThreads) {
    const int i = start + int(threadIdx.x);
    if (i >= kHigh * kWideIn) continue;
    const float* const at = planes + i + kStep * kWideIn;
    rows[i] = at[0] + at[-kStep * kWideIn] + at[kStep * kWideIn];
  }
  __syncthreads();
#pragma unroll
  for (int start = 0; start < kHigh * kWide; start += kThreads) {
    const int i = start + int(threadIdx.x), h = row + i / kWide, w = column + i % kWide;
    const float* const at = rows + i / kWide * kWideIn + i % kWide + kStep;
    if (h < s.height && w < s.width) out[h * s.width + w] = (at[0] + at[-kStep] + at[kStep]) / 27.f;
  }
}

}  // namespace

void box_mean(const float* x, int64_t step, float* out, int64_t volumes, Shape s, void* stream) {
  if (volumes * s.voxels() == 0) return;
  if (step != 1 && step != 3 && step != 9)
    throw std::invalid_argument("box_mean on a GPU takes a step of 1, 3 or 9");
  if (s.height * s.width > INT32_MAX)
    throw std::invalid_argument("box_mean on a GPU takes planes of fewer than 2^31 voxels");
  const Shape blocks{s.depth, ceil_div(s.height, kHigh), ceil_div(s.width, kWide)};
  const unsigned grid = grid_size(volumes * blocks.voxels());
  const auto launch = [&](auto apart) {
    DAL_LAUNCH((box_mean_kernel<decltype(apart)::value>), grid, kThreads, 0, as_stream(stream), x, out,
               Sides::of(s), Sides::of(blocks));
  };
  if (step == 1)
    launch(std::integral_constant<int, 1>());
  else if (step == 3)
    launch(std::integral_constant<int, 3>());
  else
    launch(std::integral_constant<int, 9>());
  check_launch("box_mean_kernel");
}

}  // namespace cuda
}  // namespace dal
