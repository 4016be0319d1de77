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
                      const uint32_t* __restrict__ forest, BitGrid grid) {
  const TilePlace at(grid);
  const TileWords words(weak + at.volume * grid.all_words(), grid, at);
  strong += at.volume * grid.all_words();
  forest += at.volume * grid.voxels();
  volatile const uint32_t* const flags = strong;
  for (int plane = 0; plane < at.planes; ++plane) {
    const uint32_t word = words[plane], z = at.z0 + uint32_t(plane);
    if (!(run_starts(word) >> at.lane & 1)) continue;
    const uint32_t run = kAllLanes >> (kWord - run_length(word, at.lane)) << at.lane;
    if (!(flags[grid.word(z, at.y, at.k)] & run)) continue;
    const uint32_t root = find_root(forest, grid.node(z, at.y, at.x));
    const uint32_t root_word = grid.word_of(root), bit = 1u << (root % grid.width % kWord);
    if (!(flags[root_word] & bit)) atomicOr(&strong[root_word], bit);
  }
}

__global__ void __launch_bounds__(kThreads)
    write_edges(const uint32_t* __restrict__ weak, const uint32_t* __restrict__ strong,
                const uint32_t* __restrict__ forest, uint8_t* edges, BitGrid grid) {
  const TilePlace at(grid);
  const TileWords words(weak + at.volume * grid.all_words(), grid, at);
  strong += at.volume * grid.all_words();
  forest += at.volume * grid.voxels();
  edges += at.volume * grid.voxels();
  for (int plane = 0; plane < at.planes; ++plane) {
    const uint32_t word = words[plane], node = grid.node(at.z0 + uint32_t(plane), at.y, at.x);
    bool edge = false;
    if (run_starts(word) >> at.lane & 1) {
      const uint32_t root = find_root(forest, node);
      edge = strong[grid.word_of(root)] >> (root % grid.width % kWord) & 1;
    }
    const uint32_t runs = __ballot_sync(kAllLanes, edge);
    if (at.x < grid.width) edges[node] = word >> at.lane & 1 && runs >> run_start(word, at.lane) & 1;
  }
}

// forest: images x voxels of scratch; edges: images x voxels.
void follow_edges(const uint32_t* weak, uint32_t* strong, uint32_t* forest, uint8_t* edges,
                  const BitGrid& grid, int64_t images, cudaStream_t stream) {
  build_forest<3>(weak, forest, grid, images, stream);
  const unsigned blocks = grid_size(images * grid.tiles());
  DAL_LAUNCH(mark_strong_roots, blocks, kThreads, 0, stream, weak, strong, forest, grid);
  check_launch("mark_strong_roots");
  DAL_LAUNCH(write_edges, blocks, kThreads, 0, stream, weak, strong, forest, edges, grid);
  check_launch("write_edges");
}

}  // namespace
}  // namespace cuda
}  // namespace dal
