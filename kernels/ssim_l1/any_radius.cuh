// Filters one plane of a tile, for any radius up to 16: the general path, simple rather than fast. Include
// only from ssim_l1_cuda.cu.
//
//   2r + 1 planes --F along z--> tile and margin --F along x--> tile, margin along y --F along y--> combine
//   (global)                     (shared)                       (shared)
//
// Filtering along z first, straight from global memory, needs no ring of planes: shared memory holds any
// radius, and what a block reads again the second-level cache serves.
#pragma once
#include "ssim_l1/combine.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kPixels = 4;  // outputs filtered together by one thread

// Shared memory of a block: (pair, row, column) of two fields, before and after the x pass, and where the
// rows and columns lie after reflection. Rows before the x pass are an odd number of fields' pairs apart:
// its threads read neighbouring rows.
struct AnyLayout {
  int width, height, row;  // of the tile with its margin, and the distance of two rows, in float2

  __host__ __device__ explicit AnyLayout(int radius)
      : width(kTileX + 2 * radius), height(kTileY + 2 * radius), row(width | 1) {}
  __host__ __device__ int before() const { return height * row; }
  __host__ __device__ int after() const { return height * kTileX; }
  __host__ __device__ int bytes() const {
    return 2 * (before() + after()) * int(sizeof(float2)) + (width + height) * int(sizeof(int));
  }
};

// Four outputs side by side, `step` apart: out[i] = sum_d w[|d|] in[i + d], `in` being the first tap.
__device__ __forceinline__ void filter4(const float2* in, int step, int radius, const float* w,
                                        float (&out)[kPixels][2]) {
  for (int k = 0; k < kPixels + 2 * radius; ++k) {
    const float2 v = in[k * step];
#pragma unroll
    for (int i = 0; i < kPixels; ++i) {
      const int distance = abs(k - radius - i);
      if (distance > radius) continue;
      out[i][0] += w[distance] * v.x;
      out[i][1] += w[distance] * v.y;
    }
  }
}

// Along z, at (row, column) of the reflected rows and columns.
template <class Source>
__device__ __forceinline__ void filter_columns(const Source& source, const Tile& tile, Shift shift,
                                               int radius, const float* w, const int* rows,
                                               const int* columns, const AnyLayout& layout, float2* out) {
  for (int i = threadIdx.x; i < layout.height * layout.width; i += kThreads) {
    const int y = i / layout.width, x = i % layout.width;
    float2 sum[2] = {};
    for (int d = -radius; d <= radius; ++d) {
      const int z = reflect(tile.z0 + d, source.shape.depth);
      const float weight = w[abs(d)];
      float2 f[2];
      source.voxel(tile.plane(source.shape, z), rows[y], columns[x], shift, f);
#pragma unroll
      for (int p = 0; p < 2; ++p) {
        sum[p].x += weight * f[p].x;
        sum[p].y += weight * f[p].y;
      }
    }
    for (int p = 0; p < 2; ++p) out[p * layout.before() + y * layout.row + x] = sum[p];
  }
}

template <class Source, class Work>
__global__ void __launch_bounds__(kThreads)
    any_radius(Source source, Work work, Shape shape, Weights weights, int radius) {
  __shared__ Shared shared;
  __shared__ float w[kMaxRadius + 1];
  DAL_DYNAMIC_SHARED(float2, before);
  const AnyLayout layout(radius);
  float2* const after = before + 2 * layout.before();
  int* const rows = reinterpret_cast<int*>(after + 2 * layout.after());
  int* const columns = rows + layout.height;

  const int64_t at = blockIdx.x / unsigned(shape.groups);  // shape.share is 1
  const Tile tile(shape, int(blockIdx.x % unsigned(shape.groups)), at, at + 1);
  const Place place(threadIdx.x);
  if (threadIdx.x == 0) shared.fill(source.in, tile.volume), work.fill(shared);
  if (threadIdx.x == 0)
    for (int d = 0; d <= kMaxRadius; ++d) w[d] = weights.w[d];
  for (int i = threadIdx.x; i < layout.height; i += kThreads)
    rows[i] = reflect(tile.y0 - radius + i, shape.height);
  for (int i = threadIdx.x; i < layout.width; i += kThreads)
    columns[i] = reflect(tile.x0 - radius + i, shape.width);
  __syncthreads();
  filter_columns(source, tile, shared.shift, radius, w, rows, columns, layout, before);
  __syncthreads();
  const int tasks = 2 * layout.height * (kTileX / kPixels);
  for (int i = threadIdx.x; i < tasks; i += kThreads) {
    const int y = i % layout.height, task = i / layout.height, pair = task % 2, x = task / 2 * kPixels;
    float f[kPixels][2] = {};
    filter4(before + pair * layout.before() + y * layout.row + x, 1, radius, w, f);
    float2* const out = after + pair * layout.after() + y * kTileX + x;
    for (int k = 0; k < kPixels; ++k) out[k] = {f[k][0], f[k][1]};
  }
  __syncthreads();
  float f[kRows][2] = {};
  filter4(after + place.pair * layout.after() + place.y * kTileX + place.x, kTileX, radius, w, f);
  Totals totals;
  uint32_t voxels[kRows];
  work.load(tile, place, tile.z0, voxels);
  work.combine(tile, place, tile.z0, shared, voxels, f, totals);
  work.finish(totals);
}

}  // namespace
}  // namespace cuda
}  // namespace dal
