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
constexpr int kRow = kWide + 2, kTile = kRow * (kHigh + 2), kLoads = (kTile + kThreads - 1) / kThreads;

// What a thread reads of each plane of its column with the border: voxels of the plane, -1 for one that
// lies outside.
struct Loader {
  int at[kLoads];

  __device__ Loader(const Sides& s, int row, int column) {
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      const int i = int(threadIdx.x) + j * kThreads;
      const int h = row + i / kRow - 1, w = column + i % kRow - 1;
      const bool inside = i < kTile && h >= 0 && h < s.height && w >= 0 && w < s.width;
      at[j] = inside ? h * s.width + w : -1;
    }
  }
  // The masked plane that x and mask begin with; what lies outside the volume holds nothing.
  __device__ void load(const float* __restrict__ x, const uint8_t* __restrict__ mask, float sign,
                       bool inside, float* tile) const {
    float value[kLoads];
#pragma unroll
    for (int j = 0; j < kLoads; ++j)
      value[j] = inside && at[j] >= 0 && mask[at[j]] ? sign * x[at[j]] : kNothingNearby;
#pragma unroll
    for (int j = 0; j < kLoads; ++j)
      if (int(threadIdx.x) + j * kThreads < kTile) tile[threadIdx.x + j * kThreads] = value[j];
  }
};

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
                          float* __restrict__ out, Sides s, Sides blocks) {
  __shared__ float tiles[2][kTile];  // two, so that one barrier a plane is enough
  unsigned block = blockIdx.x;
  const int column = int(block % unsigned(blocks.width)) * kWide;
  block /= unsigned(blocks.width);
  const int row = int(block % unsigned(blocks.height)) * kHigh;
  block /= unsigned(blocks.height);
  const int first = int(block % unsigned(blocks.depth)) * kPlanes - 1;  // plane that is read first
  const int64_t volume = block / unsigned(blocks.depth), area = int64_t(s.height) * s.width;
  const int64_t start = (volume * s.depth + first) * area;  // of the planes that are read
  x += start, mask += start, out += start - area;

  const Loader loader(s, row, column);
  const int h = row + int(threadIdx.x) / kWide, w = column + int(threadIdx.x) % kWide;
  const int own = h < s.height && w < s.width ? h * s.width + w : -1;
  float before = kNothingNearby, here = kNothingNearby;
  for (int i = 0; i < kPlanes + 2; ++i, x += area, mask += area, out += area) {
    float* const tile = tiles[i % 2];
    loader.load(x, mask, sign, unsigned(first + i) < unsigned(s.depth), tile);
    __syncthreads();
    const float after = highest_of_nine(tile);
    if (i >= 2 && first + i - 1 < s.depth && own >= 0) out[own] = fmaxf(fmaxf(before, here), after);
    before = here, here = after;
  }
}

}  // namespace

void highest_nearby(const float* x, const uint8_t* mask, float sign, float* out, int64_t volumes, Shape s,
                    void* stream) {
  if (volumes * s.voxels() == 0) return;
  if (s.height * s.width > INT32_MAX)
    throw std::invalid_argument("highest_nearby on a GPU takes planes of fewer than 2^31 voxels");
  const Shape blocks{ceil_div(s.depth, kPlanes), ceil_div(s.height, kHigh), ceil_div(s.width, kWide)};
  DAL_LAUNCH(highest_nearby_kernel, grid_size(volumes * blocks.voxels()), kThreads, 0, as_stream(stream), x,
             mask, sign, out, Sides::of(s), Sides::of(blocks));
  check_launch("highest_nearby_kernel");
}

}  // namespace cuda
}  // namespace dal
