// Union-find over the voxels of a mask given as bits; components3d and the hysteresis of canny3d use it.
//
// A row of voxels is `words` words of 32 bits, bit x of word k its voxel 32 k + x. The run of ones that a
// voxel belongs to within its word is a node, named by the linear index of the run's first voxel:
//
//   voxel    0 1 2 3 4 5 6 7 ...           forest[i] = parent(i) + 1     parent(i) < i
//   bits     0 1 1 1 0 0 1 1               forest[i] > i                 i is a root
//   node     . 1 1 1 . . 6 6
//
// Only the entries of nodes are ever read or written. The lower root always wins, so the root of a whole
// component is its first voxel in raster order, however the threads interleave.
//
// First every tile of 32 x 8 x 8 voxels unites its own runs in shared memory, then pairs of tiles do
// across their borders in global memory. A block takes a tile, a lane a voxel.
#pragma once
#include "gpu.h"

namespace dal {
namespace cuda {
namespace {

constexpr int kWord = 32;  // voxels a word: one a lane
constexpr int kTileY = 8, kTileZ = 8;  // rows a tile: a warp takes those of one y
constexpr int kThreads = kTileY * kWord;

// The sizes of one volume; fewer than 2^32 voxels, so that 32 bits name a node.
struct BitGrid {
  uint32_t depth, height, width, words;

  BitGrid(int64_t d, int64_t h, int64_t w)
      : depth(uint32_t(d)), height(uint32_t(h)), width(uint32_t(w)), words(uint32_t(ceil_div(w, kWord))) {}

  __host__ __device__ int64_t voxels() const { return int64_t(depth) * height * width; }
  __host__ __device__ int64_t all_words() const { return int64_t(depth) * height * words; }
  int64_t tiles() const { return ceil_div(depth, kTileZ) * ceil_div(height, kTileY) * words; }
  __device__ uint32_t word(uint32_t z, uint32_t y, uint32_t k) const {
    return (z * height + y) * words + k;
  }
  __device__ uint32_t node(uint32_t z, uint32_t y, uint32_t x) const {
    return (z * height + y) * width + x;
  }
  __device__ uint32_t word_of(uint32_t node) const { return node / width * words + node % width / kWord; }
};

// The tile of a block, and in it the rows of a warp: y, `planes` planes from z0 on.
struct TilePlace {
  uint32_t k, y0, z0, y, x;  // k: word of the row; x: voxel of the lane
  int64_t volume;
  int lane, planes;  // planes: 0 for the warps beyond the last row

  __device__ explicit TilePlace(const BitGrid& grid) : lane(int(threadIdx.x % kWord)) {
    const uint32_t tiles_y = (grid.height + kTileY - 1) / kTileY,
                   tiles_z = (grid.depth + kTileZ - 1) / kTileZ;
    const uint32_t row = blockIdx.x / grid.words, plane = row / tiles_y;
    k = blockIdx.x % grid.words;
    y0 = row % tiles_y * kTileY;
    z0 = plane % tiles_z * kTileZ;
    volume = plane / tiles_z;
    y = y0 + threadIdx.x / kWord;
    x = k * kWord + uint32_t(lane);
    planes = y < grid.height ? int(min(uint32_t(kTileZ), grid.depth - z0)) : 0;
  }
};

// The warp's words of a tile: lane z holds that of plane z0 + z, lane kTileZ + z the one before it in the
// row, or 0. bits: of the volume.
struct TileWords {
  uint32_t mine = 0;

  __device__ TileWords(const uint32_t* bits, const BitGrid& grid, const TilePlace& at) {
    const int z = at.lane % kTileZ, back = at.lane / kTileZ;
    if (back < 2 && z < at.planes && uint32_t(back) <= at.k)
      mine = bits[grid.word(at.z0 + uint32_t(z), at.y, at.k - uint32_t(back))];
  }
  // By all lanes, for the same z.
  __device__ uint32_t operator[](int z) const { return __shfl_sync(kAllLanes, mine, z); }
  __device__ uint32_t before(int z) const { return __shfl_sync(kAllLanes, mine, kTileZ + z); }
  __device__ bool any() const { return __any_sync(kAllLanes, mine != 0); }
};

// forest: of one volume, in shared or global memory, while other threads unite.
__device__ __forceinline__ uint32_t find_root(const volatile uint32_t* forest, uint32_t node) {
  for (uint32_t up = forest[node]; up <= node; up = forest[node]) node = up - 1;
  return node;
}

__device__ __forceinline__ void unite(uint32_t* forest, uint32_t a, uint32_t b) {
  for (;;) {
    a = find_root(forest, a);
    b = find_root(forest, b);
    if (a == b) return;
    const uint32_t low = a < b ? a : b, high = a < b ? b : a;
    const uint32_t before = atomicMin(&forest[high], low + 1);
    if (before == high + 1) return;  // it was a root still
    a = low;
    b = before - 1;  // another thread hung it here meanwhile: that tree joins, too
  }
}

// A word of a row and the word before it; 0 where there is none.
struct Word {
  uint32_t bits, before;
};

__device__ __forceinline__ uint32_t run_starts(uint32_t bits) { return bits & ~(bits << 1); }

// First voxel of the run that holds voxel x.
__device__ __forceinline__ int run_start(uint32_t bits, int x) {
  return 31 - __clz(int(run_starts(bits) & (kAllLanes >> (31 - x))));
}
__device__ __forceinline__ int run_start(Word row, int x) {
  return x < 0 ? run_start(row.before, 31) - kWord : run_start(row.bits, x);
}

// Voxels of the run that starts at x.
__device__ __forceinline__ uint32_t run_length(uint32_t bits, int x) {
  const uint32_t gaps = ~(bits >> x);
  return gaps ? uint32_t(__ffs(int(gaps)) - 1) : uint32_t(kWord);
}

// Where two neighbouring rows touch, as seen by lane x: voxels x - 1 and x of each.
//
//    a  . . 1 1       a  . . 1 1       a  1 1 . .
//    b  . 1 1 .       b  1 1 . .       b  . . 1 1
//         overlap          diagonal, allowed in 18 and 26
//           begins
//
// Every contact of two runs is one of these three, at one x; a diagonal next to an overlap adds nothing.
struct Contact {
  int a, b;  // voxel of either row, x or x - 1
  bool found;

  __device__ Contact(Word row_a, Word row_b, int x, bool diagonal) {
    const bool has_a = row_a.bits >> x & 1, has_b = row_b.bits >> x & 1;
    const bool before_a = (row_a.bits << 1 | row_a.before >> 31) >> x & 1;
    const bool before_b = (row_b.bits << 1 | row_b.before >> 31) >> x & 1;
    const bool overlapped = (row_a.bits & row_b.bits) << 1 >> x & 1;
    a = has_a ? x : x - 1;
    b = has_b ? x : x - 1;
    found = has_a && has_b
                ? !overlapped
                : diagonal && has_a != has_b && (has_a ? before_b && !before_a : before_a && !before_b);
  }
};

// The four neighbouring rows that come first: (0, -1), (-1, -1), (-1, 0), (-1, 1) in z and y.
constexpr int kRowsBefore = 4;
struct RowBefore {
  int dz, dy, steps;  // steps: axes along which it differs
  __device__ explicit RowBefore(int i) : dz(i ? -1 : 0), dy(i ? i - 2 : -1), steps(i & 1 ? 2 : 1) {}
};

// bits -> forest within the tiles. kSteps: axes along which neighbours may differ (6, 18, 26: 1, 2, 3).
template <int kSteps>
__global__ void __launch_bounds__(kThreads)
    unite_tiles(const uint32_t* __restrict__ bits, uint32_t* forest, BitGrid grid) {
  __shared__ uint32_t rows[kTileZ * kTileY], nodes[kTileZ * kTileY * kWord];
  const TilePlace at(grid);
  const TileWords words(bits + at.volume * grid.all_words(), grid, at);
  const int y = int(at.y - at.y0), lane = at.lane;
  if (lane < kTileZ) rows[lane * kTileY + y] = words.mine;
  if (!__syncthreads_or(words.mine != 0 && lane < kTileZ)) return;
  for (int row = y; row < kTileZ * kTileY; row += kTileY)
    nodes[row * kWord + lane] = uint32_t(row * kWord + lane) + 1;
  __syncthreads();

  for (int row = y; row < kTileZ * kTileY; row += kTileY) {
    const Word here{rows[row], 0};
    if (!here.bits) continue;
    for (int i = 0; i < kRowsBefore; ++i) {
      const RowBefore before(i);
      const int other_y = y + before.dy, other = row + before.dz * kTileY + before.dy;
      if (before.steps > kSteps || other < 0 || other_y < 0 || other_y >= kTileY) continue;
      const Word there{rows[other], 0};
      const Contact contact(here, there, lane, before.steps < kSteps);
      if (contact.found)
        unite(nodes, uint32_t(row * kWord + run_start(here, contact.a)),
              uint32_t(other * kWord + run_start(there, contact.b)));
    }
  }
  __syncthreads();
  const auto global = [&](uint32_t local) {
    return grid.node(at.z0 + local / (kTileY * kWord), at.y0 + local / kWord % kTileY,
                     at.k * kWord + local % kWord);
  };
  forest += at.volume * grid.voxels();
  for (int row = y; row < kTileZ * kTileY; row += kTileY)
    if (run_starts(rows[row]) >> lane & 1) {
      const uint32_t local = uint32_t(row * kWord + lane);
      forest[global(local)] = global(find_root(nodes, local)) + 1;
    }
}

// Unites what touches across the borders of tiles.
template <int kSteps>
__global__ void __launch_bounds__(kThreads)
    unite_borders(const uint32_t* __restrict__ bits, uint32_t* forest, BitGrid grid) {
  const TilePlace at(grid);
  bits += at.volume * grid.all_words();
  forest += at.volume * grid.voxels();
  const TileWords words(bits, grid, at);
  const uint32_t y = at.y;
  const int planes = words.any() ? at.planes : 0;
  for (int plane = 0; plane < planes; ++plane) {
    const Word here{words[plane], words.before(plane)};
    if (!here.bits && !(here.before >> 31)) continue;
    const uint32_t z = at.z0 + uint32_t(plane), node = grid.node(z, y, at.k * kWord);
    if (at.lane == 0 && (here.bits & 1) && here.before >> 31)
      unite(forest, node, node + uint32_t(run_start(here, -1)));
    for (int i = 0; i < kRowsBefore; ++i) {
      const RowBefore before(i);
      if (before.steps > kSteps || (before.dz < 0 && z == 0) || (before.dy < 0 && y == 0) ||
          (before.dy > 0 && y + 1 == grid.height))
        continue;
      const uint32_t rows = uint32_t(before.dz) * grid.height + uint32_t(before.dy);  // modulo 2^32
      const uint32_t other = grid.word(z, y, at.k) + rows * grid.words;
      const Word there{bits[other], at.k ? bits[other - 1] : 0};
      const Contact contact(here, there, at.lane, before.steps < kSteps);
      const bool other_tile = (before.dz < 0 && plane == 0) || (before.dy < 0 && y == at.y0) ||
                              (before.dy > 0 && y == at.y0 + kTileY - 1) || contact.a < 0 || contact.b < 0;
      if (contact.found && other_tile)
        unite(forest, node + uint32_t(run_start(here, contact.a)),
              node + rows * grid.width + uint32_t(run_start(there, contact.b)));
    }
  }
}

// bits: volumes x all_words() -> forest: volumes x voxels(), its trees the components.
template <int kSteps>
void build_forest(const uint32_t* bits, uint32_t* forest, const BitGrid& grid, int64_t volumes,
                  cudaStream_t stream) {
  const unsigned blocks = grid_size(volumes * grid.tiles());
  DAL_LAUNCH((unite_tiles<kSteps>), blocks, kThreads, 0, stream, bits, forest, grid);
  check_launch("unite_tiles");
  DAL_LAUNCH((unite_borders<kSteps>), blocks, kThreads, 0, stream, bits, forest, grid);
  check_launch("unite_borders");
}

}  // namespace
}  // namespace cuda
}  // namespace dal
