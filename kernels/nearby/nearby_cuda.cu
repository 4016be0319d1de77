// The highest value nearby on a GPU: a block marches through kPlanes planes of a column of kWide x kHigh
// voxels. Of each plane it puts the column and a border of one voxel into shared memory; a thread takes the
// maximum of its 3 x 3 there and keeps those of the last three planes in registers.
//
//   plane d + 1   [border | column | border]  -> max over 3 x 3 ---+
//   plane d                                      (register)     ---+--> out(d)
//   plane d - 1                                  (register)     ---+
#include "gpu.h"
#include "nearby/nearby.h"

namespace dal {
namespace cuda {
namespace {

constexpr int kWide = 32, kHigh = 8, kPlanes = 16, kThreads = kWide * kHigh;
constexpr int kRow = kWide + 2, kTile = kRow * (kHigh + 2);

struct Column {
  int64_t first_plane, row, column;  // of the voxel that thread 0 begins with
};

// A masked plane of the column with its border; what lies outside the volume holds nothing.
__device__ __forceinline__ void load_plane(const float* __restrict__ x, const uint8_t* __restrict__ mask,
                                           float sign, const Shape& s, const Column& at, int64_t plane,
                                           float* tile) {
  for (int i = int(threadIdx.x); i < kTile; i += kThreads) {
    const int64_t h = at.row + i / kRow - 1, w = at.column + i % kRow - 1;
    const bool inside = plane >= 0 && plane < s.depth && h >= 0 && h < s.height && w >= 0 && w < s.width;
    const int64_t voxel = (plane * s.height + h) * s.width + w;
    tile[i] = inside && mask[voxel] ? sign * x[voxel] : kNothingNearby;
  }
}

__device__ __forceinline__ float highest_of_nine(const float* tile) {
  const float* corner = tile + int(threadIdx.x) / kWide * kRow + int(threadIdx.x) % kWide;
  float highest = kNothingNearby;
#pragma unroll
  for (int h = 0; h < 3; ++h)
#pragma unroll
    for (int w = 0; w < 3; ++w) highest = fmaxf(highest, corner[h * kRow + w]);
  return highest;
}

__global__ void __launch_bounds__(kThreads)
    highest_nearby_kernel(const float* __restrict__ x, const uint8_t* __restrict__ mask, float sign,
                          float* __restrict__ out, Shape s, int64_t voxels, Shape blocks) {
  __shared__ float tiles[2][kTile];  // two, so that one barrier a plane is enough
  int64_t block = blockIdx.x;
  Column at;
  at.column = block % blocks.width * kWide, block /= blocks.width;
  at.row = block % blocks.height * kHigh, block /= blocks.height;
  at.first_plane = block % blocks.depth * kPlanes, block /= blocks.depth;
  x += block * voxels, mask += block * voxels, out += block * voxels;

  const int64_t h = at.row + int(threadIdx.x) / kWide, w = at.column + int(threadIdx.x) % kWide;
  float before = kNothingNearby, here = kNothingNearby;
  for (int i = 0; i < kPlanes + 2; ++i) {
    const int64_t plane = at.first_plane + i - 1;  // that is read
    float* const tile = tiles[i % 2];
    load_plane(x, mask, sign, s, at, plane, tile);
    __syncthreads();
    const float after = highest_of_nine(tile);
    if (i >= 2 && plane - 1 < s.depth && h < s.height && w < s.width)
      out[((plane - 1) * s.height + h) * s.width + w] = fmaxf(fmaxf(before, here), after);
    before = here, here = after;
  }
}

}  // namespace

void highest_nearby(const float* x, const uint8_t* mask, float sign, float* out, int64_t volumes, Shape s,
                    void* stream) {
  if (volumes * s.voxels() == 0) return;
  const Shape blocks{ceil_div(s.depth, kPlanes), ceil_div(s.height, kHigh), ceil_div(s.width, kWide)};
  DAL_LAUNCH(highest_nearby_kernel, grid_size(volumes * blocks.voxels()), kThreads, 0, as_stream(stream), x,
             mask, sign, out, s, s.voxels(), blocks);
  check_launch("highest_nearby_kernel");
}

}  // namespace cuda
}  // namespace dal
