// Hysteresis over 26 neighbours: the components of the weak voxels that hold a strong one.
//
// The forest of union_find.cuh is built over the weak bits; a component that holds a strong voxel makes
// its root strong, too (the root is a weak voxel of it, so an edge); then every voxel asks its root.
#pragma once
#include "components3d/union_find.cuh"

namespace dal {
namespace cuda {
namespace {

__global__ void __launch_bounds__(kThreads)
    mark_strong_roots(const uint32_t* __restrict__ weak, uint32_t* strong,
                      const uint32_t* __restrict__ forest, BitGrid grid, uint32_t blocks_a_volume) {
  const WordPlace at(grid, blocks_a_volume, kWarps);
  if (!at.inside) return;
  volatile uint32_t* const flags = strong + at.volume * grid.all_words();
  const uint32_t above = flags[at.word];
  if (!above) return;
  const uint32_t word = weak[at.volume * grid.all_words() + at.word];
  if (!(run_starts(word) >> at.lane & 1)) return;
  const uint32_t length = run_length(word, at.lane);
  if (!(above >> at.lane & (kAllLanes >> (kWord - length)))) return;
  const uint32_t root = find_root(forest + at.volume * grid.voxels(), grid.node(0, at.row, at.x));
  const uint32_t root_word = grid.word_of(root), bit = 1u << (root % grid.width % kWord);
  if (!(flags[root_word] & bit)) atomicOr(&strong[at.volume * grid.all_words() + root_word], bit);
}

__global__ void __launch_bounds__(kThreads)
    write_edges(const uint32_t* __restrict__ weak, const uint32_t* __restrict__ strong,
                const uint32_t* __restrict__ forest, uint8_t* edges, BitGrid grid,
                uint32_t blocks_a_volume) {
  const WordPlace at(grid, blocks_a_volume, kWarps);
  const int64_t words = at.volume * grid.all_words();
  const uint32_t word = at.inside ? weak[words + at.word] : 0;
  const uint32_t node = grid.node(0, at.row, at.x);
  bool edge = false;
  if (run_starts(word) >> at.lane & 1) {
    const uint32_t root = find_root(forest + at.volume * grid.voxels(), node);
    edge = strong[words + grid.word_of(root)] >> (root % grid.width % kWord) & 1;
  }
  const uint32_t runs = __ballot_sync(kAllLanes, edge);
  if (at.inside && at.x < grid.width)
    edges[at.volume * grid.voxels() + node] = word >> at.lane & 1 && runs >> run_start(word, at.lane) & 1;
}

// forest: images x voxels of scratch; edges: images x voxels.
void follow_edges(const uint32_t* weak, uint32_t* strong, uint32_t* forest, uint8_t* edges,
                  const BitGrid& grid, int64_t images, cudaStream_t stream) {
  build_forest<3>(weak, forest, grid, images, stream);
  const uint32_t blocks = word_blocks(grid);
  DAL_LAUNCH(mark_strong_roots, grid_size(images * blocks), kThreads, 0, stream, weak, strong, forest, grid,
             blocks);
  check_launch("mark_strong_roots");
  DAL_LAUNCH(write_edges, grid_size(images * blocks), kThreads, 0, stream, weak, strong, forest, edges,
             grid, blocks);
  check_launch("write_edges");
}

}  // namespace
}  // namespace cuda
}  // namespace dal
