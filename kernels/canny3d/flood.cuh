// Strong edges spread over the weak voxels of a tile, 32 voxels at once. Most weak voxels lie near a strong
// one: what two rounds leave undecided is little, and hysteresis.cuh asks the union-find about that alone.
//
// A block takes a tile of 32 x 8 x 8 voxels, a thread a row of it, with the rows and bits around the tile.
#pragma once
#include "components3d/union_find.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kFloodThreads = kTileZ * kTileY;
constexpr int kHaloY = kTileY + 2, kHaloRows = (kTileZ + 2) * kHaloY;

// The ones of `bits` that lie in a run with a seed; seeds are ones of `bits`.
__device__ __forceinline__ uint32_t along_runs(uint32_t seeds, uint32_t bits) {
  uint32_t up = seeds, down = seeds, up_to = bits, down_to = bits;
#pragma unroll
  for (int shift = 1; shift < kWord; shift *= 2) {
    up |= up_to & (up << shift);
    up_to &= up_to << shift;
    down |= down_to & (down >> shift);
    down_to &= down_to >> shift;
  }
  return up | down;
}

// A word of a row of bits, and the neighbouring bits of the words on either side at its ends.
struct WordAndSides {
  uint32_t word = 0, sides = 0;

  // Row (z, y), of which coordinates below 0 are large; nothing where it lies outside.
  __device__ WordAndSides(const volatile uint32_t* bits, const BitGrid& grid, uint32_t z, uint32_t y,
                          uint32_t k) {
    if (z >= grid.depth || y >= grid.height) return;
    const volatile uint32_t* const at = bits + grid.word(z, y, k);
    word = at[0];
    if (k > 0) sides = at[-1] >> 31;
    if (k + 1 < grid.words) sides |= at[1] << 31;
  }
};

// With the voxels before and after each.
__device__ __forceinline__ uint32_t widened(uint32_t word, uint32_t sides) {
  return word | word << 1 | word >> 1 | sides;
}

// from -> to: strong bits, spread within the tiles. weak: their own strong bits are removed in the last
// round, which leaves the undecided ones.
__global__ void __launch_bounds__(kFloodThreads)
    flood_tiles(uint32_t* weak, const uint32_t* __restrict__ from, uint32_t* to, BitGrid grid, bool last) {
  __shared__ uint32_t rows[kHaloRows], sides[kHaloRows];
  const uint32_t tiles_y = (grid.height + kTileY - 1) / kTileY,
                 tiles_z = (grid.depth + kTileZ - 1) / kTileZ;
  const uint32_t row = blockIdx.x / grid.words, plane = row / tiles_y, k = blockIdx.x % grid.words;
  const uint32_t y0 = row % tiles_y * kTileY, z0 = plane % tiles_z * kTileZ;
  const int64_t first = int64_t(plane / tiles_z) * grid.all_words();
  const int dy = int(threadIdx.x) % kTileY, dz = int(threadIdx.x) / kTileY;
  const uint32_t y = y0 + uint32_t(dy), z = z0 + uint32_t(dz);
  const bool inside = y < grid.height && z < grid.depth;
  const int64_t at = first + (inside ? grid.word(z, y, k) : 0);
  const uint32_t bits = inside ? weak[at] : 0;
  if (!__syncthreads_or(bits != 0)) {
    if (inside) to[at] = 0;
    return;
  }
  for (int i = int(threadIdx.x); i < kHaloRows; i += kFloodThreads) {
    const WordAndSides around(from + first, grid, z0 + uint32_t(i / kHaloY) - 1,
                              y0 + uint32_t(i % kHaloY) - 1, k);
    rows[i] = around.word;
    sides[i] = around.sides;
  }
  __syncthreads();
  uint32_t* const own = rows + (dz + 1) * kHaloY + dy + 1;
  uint32_t beside = 0, strong = *own;
#pragma unroll
  for (int i = 0; i < 9; ++i) beside |= sides[own - rows + (i / 3 - 1) * kHaloY + i % 3 - 1];
  for (;;) {
    uint32_t near = 0;
#pragma unroll
    for (int i = 0; i < 9; ++i) near |= own[(i / 3 - 1) * kHaloY + i % 3 - 1];
    const uint32_t more = along_runs(strong | (bits & widened(near, beside)), bits);
    const bool changed = __syncthreads_or(more != strong);
    *own = strong = more;
    __syncthreads();
    if (!changed) break;
  }
  if (!inside) return;
  to[at] = strong;
  if (last) weak[at] = bits & ~strong;
}

}  // namespace
}  // namespace cuda
}  // namespace dal
