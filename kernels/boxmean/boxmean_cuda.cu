// The mean over 27 voxels that lie a step apart, on a GPU: a block makes kWide x kHigh voxels of one plane.
// Sums of three planes go to shared memory with a border of `step` voxels, sums of three of its rows to a
// second array, and three of those are summed on the way to memory. Sums have the CPU's order, centre,
// before, after: the same bits.
#include "boxmean/boxmean.h"
#include "gpu.h"

namespace dal {
namespace cuda {
namespace {

constexpr int kWide = 32, kHigh = 16, kThreads = 256, kStep = int(kFarthestMean);
constexpr int kMostWide = kWide + 2 * kStep, kMostHigh = kHigh + 2 * kStep;

// x at `at` and what lies `apart` planes before and after it, where there is such a thing.
__device__ __forceinline__ float three_planes(const float* __restrict__ x, const Shape& s, int64_t plane,
                                              int step, int64_t h, int64_t w) {
  if (h < 0 || h >= s.height || w < 0 || w >= s.width) return 0.f;
  const int64_t area = s.height * s.width, at = plane * area + h * s.width + w;
  float sum = x[at];
  if (plane >= step) sum += x[at - step * area];
  if (plane + step < s.depth) sum += x[at + step * area];
  return sum;
}

__global__ void __launch_bounds__(kThreads)
    box_mean_kernel(const float* __restrict__ x, int step, float* __restrict__ out, Shape s, int64_t voxels,
                    Shape blocks) {
  __shared__ float planes[kMostHigh * kMostWide], rows[kHigh * kMostWide];
  const int wide = kWide + 2 * step, high = kHigh + 2 * step;
  int64_t block = blockIdx.x;
  const int64_t column = block % blocks.width * kWide;
  block /= blocks.width;
  const int64_t row = block % blocks.height * kHigh;
  block /= blocks.height;
  const int64_t plane = block % blocks.depth;
  block /= blocks.depth;
  x += block * voxels, out += block * voxels;

  for (int i = int(threadIdx.x); i < high * wide; i += kThreads)
    planes[i] = three_planes(x, s, plane, step, row + i / wide - step, column + i % wide - step);
  __syncthreads();
  for (int i = int(threadIdx.x); i < kHigh * wide; i += kThreads) {
    const float* const at = planes + i + step * wide;
    rows[i] = at[0] + at[-step * wide] + at[step * wide];
  }
  __syncthreads();
  for (int i = int(threadIdx.x); i < kHigh * kWide; i += kThreads) {
    const int64_t h = row + i / kWide, w = column + i % kWide;
    const float* const at = rows + i / kWide * wide + i % kWide + step;
    if (h < s.height && w < s.width)
      out[(plane * s.height + h) * s.width + w] = (at[0] + at[-step] + at[step]) / 27.f;
  }
}

}  // namespace

void box_mean(const float* x, int64_t step, float* out, int64_t volumes, Shape s, void* stream) {
  if (volumes * s.voxels() == 0) return;
  const Shape blocks{s.depth, ceil_div(s.height, kHigh), ceil_div(s.width, kWide)};
  DAL_LAUNCH(box_mean_kernel, grid_size(volumes * blocks.voxels()), kThreads, 0, as_stream(stream), x,
             int(step), out, s, s.voxels(), blocks);
  check_launch("box_mean_kernel");
}

}  // namespace cuda
}  // namespace dal
