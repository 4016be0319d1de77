// Hysteresis over 26 neighbours: the components of the weak voxels that hold a strong one.
//
// Strong bits spread within tiles and to their neighbours first (flood.cuh). Over the weak bits that are
// undecided then, the forest of union_find.cuh is built; a component that touches a strong voxel makes its
// root strong, too; then every undecided voxel asks its root.
#pragma once
#include "canny3d/flood.cuh"

namespace dal {
namespace cuda {
namespace {

// undecided: weak bits that are not strong. By the warps that hold any.
__global__ void __launch_bounds__(kThreads)
    mark_strong_roots(const uint32_t* __restrict__ undecided, uint32_t* strong,
                      const uint32_t* __restrict__ forest, BitGrid grid) {
  const TilePlace at(grid);
  const TileWords words(undecided + at.volume * grid.all_words(), grid, at);
  strong += at.volume * grid.all_words();
  forest += at.volume * grid.voxels();
  volatile const uint32_t* const flags = strong;
  const int planes = words.any() ? at.planes : 0;
  for (int plane = 0; plane < planes; ++plane) {
    const uint32_t word = words[plane], z = at.z0 + uint32_t(plane);
    if (!word) continue;
    uint32_t near = 0;
    if (at.lane < 9) {
      const WordAndSides around(flags, grid, z + uint32_t(at.lane / 3) - 1,
                                at.y + uint32_t(at.lane % 3) - 1, at.k);
      near = widened(around.word, around.sides);
    }
    near = __reduce_or_sync(kAllLanes, near);
    if (!(run_starts(word) >> at.lane & 1)) continue;
    const uint32_t run = kAllLanes >> (kWord - run_length(word, at.lane)) << at.lane;
    if (!(near & run)) continue;
    const uint32_t root = find_root(forest, grid.node(z, at.y, at.x));
    const uint32_t root_word = grid.word_of(root), bit = 1u << (root % grid.width % kWord);
    if (!(flags[root_word] & bit)) atomicOr(&strong[root_word], bit);
  }
}

__global__ void __launch_bounds__(kThreads)
    write_edges(const uint32_t* __restrict__ undecided, const uint32_t* __restrict__ strong,
                const uint32_t* __restrict__ forest, uint8_t* edges, BitGrid grid) {
  const TilePlace at(grid);
  strong += at.volume * grid.all_words();
  const TileWords words(undecided + at.volume * grid.all_words(), grid, at), decided(strong, grid, at);
  forest += at.volume * grid.voxels();
  edges += at.volume * grid.voxels();
  for (int plane = 0; plane < at.planes; ++plane) {
    const uint32_t word = words[plane], node = grid.node(at.z0 + uint32_t(plane), at.y, at.x);
    uint32_t edge = decided[plane] >> at.lane & 1;
    if (word) {
      bool reached = false;
      if (run_starts(word) >> at.lane & 1) {
        const uint32_t root = find_root(forest, node);
        reached = strong[grid.word_of(root)] >> (root % grid.width % kWord) & 1;
      }
      const uint32_t runs = __ballot_sync(kAllLanes, reached);
      if (word >> at.lane & 1) edge |= runs >> run_start(word, at.lane) & 1;
    }
    if (at.x < grid.width) edges[node] = uint8_t(edge);
  }
}

// weak: loses what becomes strong. forest: images x voxels of scratch; edges: images x voxels.
void follow_edges(uint32_t* weak, uint32_t* strong, uint32_t* forest, uint8_t* edges, const BitGrid& grid,
                  int64_t images, cudaStream_t stream) {
  const unsigned blocks = grid_size(images * grid.tiles());
  uint32_t* const spread = forest;  // strong bits after the first round
  DAL_LAUNCH(flood_tiles, blocks, kFloodThreads, 0, stream, weak, strong, spread, grid, false);
  check_launch("flood_tiles");
  DAL_LAUNCH(flood_tiles, blocks, kFloodThreads, 0, stream, weak, spread, strong, grid, true);
  check_launch("flood_tiles");
  build_forest<3>(weak, forest, grid, images, stream);
  DAL_LAUNCH(mark_strong_roots, blocks, kThreads, 0, stream, weak, strong, forest, grid);
  check_launch("mark_strong_roots");
  DAL_LAUNCH(write_edges, blocks, kThreads, 0, stream, weak, strong, forest, edges, grid);
  check_launch("write_edges");
}

}  // namespace
}  // namespace cuda
}  // namespace dal
