// Which branch every voxel belongs to, on a GPU.
//
// Voxels have ranks in falling order of their values, equal ones in raster order, and join one by one. A
// local maximum starts a branch, named by its rank; where two branches meet, the older one, of the lower
// rank, goes on, and the younger one ends:
//
//   joins[b] = (rank of the voxel where branch b ends, a branch that b is connected with from there on)
//
// A voxel that touches two branches states a join: "a and b are connected from rank r on". Threads state
// joins in any order. joins[b] keeps the first end of b; what a lower entry displaces is stated anew
// between the two others, which loses nothing:
//
//   b - c from r, b - d from s, r <= s      is the same as      b - c from r, c - d from s
//
// (Smirnov and Morozov, Triplet merge trees, 2017). Every entry leads to an older branch, so walks end,
// and entries only fall, so threads never wait for each other. What is left is unique: at any rank the
// branches of a component lead to its oldest one, however the threads interleave.
#pragma once
#include "gpu.h"

namespace dal {
namespace cuda {
namespace {

using u64 = unsigned long long;  // what atomicMin takes
constexpr uint32_t kNone = ~uint32_t(0);  // rank of the background
constexpr u64 kNever = ~u64(0);  // of a branch that never ends
constexpr int kThreads = 256;

// The sizes of the volumes; a block takes kThreads voxels of one of them.
struct Grid {
  uint32_t depth, height, width, voxels, blocks;  // voxels: fewer than 2^31

  Grid(int64_t d, int64_t h, int64_t w)
      : depth(uint32_t(d)),
        height(uint32_t(h)),
        width(uint32_t(w)),
        voxels(uint32_t(d * h * w)),
        blocks(uint32_t(ceil_div(d * h * w, kThreads))) {}
};

// The index of a thread in its volume, and where the volume starts.
struct Place {
  int64_t volume, first;
  uint32_t at;
  bool inside;

  __device__ explicit Place(const Grid& grid)
      : volume(blockIdx.x / grid.blocks),
        first(volume * grid.voxels),
        at(blockIdx.x % grid.blocks * kThreads + threadIdx.x),
        inside(at < grid.voxels) {}
};

__device__ __forceinline__ u64 join_at(uint32_t rank, uint32_t branch) { return u64(rank) << 32 | branch; }
__device__ __forceinline__ uint32_t rank_of(u64 join) { return uint32_t(join >> 32); }
__device__ __forceinline__ uint32_t branch_of(u64 join) { return uint32_t(join); }

// The oldest branch that `branch` is known to be connected with when the voxel of a rank has joined.
__device__ __forceinline__ uint32_t oldest_at(const volatile u64* joins, uint32_t branch, uint32_t rank) {
  for (u64 next = joins[branch]; rank_of(next) <= rank; next = joins[branch]) branch = branch_of(next);
  return branch;
}

// States that a and b are connected from `rank` on. Returns one of the oldest branches that they are known
// to be connected with from there on: further walks begin there.
__device__ __forceinline__ uint32_t connect(u64* joins, uint32_t a, uint32_t b, uint32_t rank) {
  uint32_t oldest = kNone;
  for (;;) {
    a = oldest_at(joins, a, rank);
    b = oldest_at(joins, b, rank);
    const uint32_t older = min(a, b), younger = max(a, b);
    const bool first = oldest == kNone;  // else `rank` is a later one
    if (a == b) return first ? a : oldest;
    const u64 ours = join_at(rank, older), before = atomicMin(&joins[younger], ours);
    if (before == kNever) return first ? older : oldest;
    a = older;
    if (before > ours) {  // displaced: stated anew between the other two
      if (first) oldest = older;
      rank = rank_of(before);
      b = branch_of(before);
    } else {  // it ended earlier: go on from where it leads to
      b = younger;
    }
  }
}

// Calls f(rank) for the neighbours of a voxel that are no background. kSteps: axes along which neighbours
// may differ (6, 18, 26: 1, 2, 3). ranks: of the volume.
template <int kSteps, class F>
__device__ __forceinline__ void for_neighbours(const uint32_t* ranks, const Grid& grid, uint32_t voxel,
                                               F&& f) {
  const int x = int(voxel % grid.width), row = int(voxel / grid.width);
  const int y = row % int(grid.height), z = row / int(grid.height);
  for (int dz = -1; dz <= 1; ++dz)
    for (int dy = -1; dy <= 1; ++dy) {
      const bool there = unsigned(z + dz) < grid.depth && unsigned(y + dy) < grid.height &&
                         (dz != 0) + (dy != 0) <= kSteps;
      if (!there) continue;
      const uint32_t* const other = ranks + int64_t(voxel) + (int64_t(dz) * grid.height + dy) * grid.width;
      const bool diagonal = (dz != 0) + (dy != 0) < kSteps;  // the row's neighbours count as well
      for (int dx = -1; dx <= 1; ++dx) {
        if (dx ? !diagonal || unsigned(x + dx) >= grid.width : !(dz || dy)) continue;
        const uint32_t rank = other[dx];
        if (rank != kNone) f(rank);
      }
    }
}

// order: the voxel of every rank. -> rank of every voxel; all else as at the start.
template <class T>
__global__ void __launch_bounds__(kThreads)
    number_voxels(const T* __restrict__ x, const int64_t* __restrict__ order, uint32_t* ranks, uint32_t* up,
                  u64* joins, Grid grid) {
  const Place p(grid);
  if (!p.inside) return;
  const int64_t voxel = p.first + order[p.first + p.at];
  ranks[voxel] = to_float(x[voxel]) > 0 ? p.at : kNone;
  up[p.first + p.at] = kNone;
  joins[p.first + p.at] = kNever;
}

// -> the highest neighbour of every voxel by rank, itself for a maximum.
template <int kSteps>
__global__ void __launch_bounds__(kThreads)
    climb(const uint32_t* __restrict__ ranks, uint32_t* up, Grid grid) {
  const Place p(grid);
  const uint32_t rank = p.inside ? ranks[p.first + p.at] : kNone;
  if (rank == kNone) return;
  uint32_t best = rank;
  for_neighbours<kSteps>(ranks + p.first, grid, p.at, [&](uint32_t other) { best = min(best, other); });
  up[p.first + rank] = best;
}

// -> the maximum that every voxel climbs to.
__global__ void __launch_bounds__(kThreads) climb_to_the_top(uint32_t* up, Grid grid) {
  const Place p(grid);
  volatile uint32_t* const next = up + p.first;
  if (!p.inside) return;
  uint32_t top = next[p.at];
  if (top == kNone) return;
  for (uint32_t higher = next[top]; higher != top; higher = next[top]) top = higher;
  next[p.at] = top;  // others may climb through here meanwhile: it only is nearer to the top
}

// Every voxel states which branches meet at it.
template <int kSteps>
__global__ void __launch_bounds__(kThreads)
    connect_branches(const uint32_t* __restrict__ ranks, const uint32_t* __restrict__ up, u64* joins,
                     Grid grid) {
  const Place p(grid);
  const uint32_t rank = p.inside ? ranks[p.first + p.at] : kNone;
  if (rank == kNone) return;
  const uint32_t own = up[p.first + rank];
  uint32_t last = own, before = own, root = own;  // neighbours mostly are of one branch, or of two
  for_neighbours<kSteps>(ranks + p.first, grid, p.at, [&](uint32_t other) {
    if (other > rank) return;
    const uint32_t branch = up[p.first + other];
    if (branch == last) return;
    const bool seen = branch == before || branch == own;
    before = last;
    last = branch;
    if (!seen) root = connect(joins + p.first, root, branch, rank);
  });
}

// -> joins with the branch that goes on where another ends.
__global__ void __launch_bounds__(kThreads)
    settle_joins(const uint32_t* __restrict__ up, u64* joins, Grid grid) {
  const Place p(grid);
  if (!p.inside || up[p.first + p.at] != p.at) return;
  volatile u64* const own = joins + p.first + p.at;
  const u64 join = *own;
  if (join == kNever) return;
  *own = join_at(rank_of(join), oldest_at(joins + p.first, branch_of(join), rank_of(join)));
}

// -> the branch of the voxel of every rank; `voxels` in the background.
__global__ void __launch_bounds__(kThreads)
    choose_branches(const uint32_t* __restrict__ up, const u64* __restrict__ joins, int32_t* branches,
                    Grid grid) {
  const Place p(grid);
  if (!p.inside) return;
  const uint32_t top = up[p.first + p.at];
  branches[p.first + p.at] = int32_t(top == kNone ? grid.voxels : oldest_at(joins + p.first, top, p.at));
}

}  // namespace
}  // namespace cuda
}  // namespace dal
