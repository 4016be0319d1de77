// What components3d and remove_small share: a forest (union_find.cuh) by connectivity, and its components'
// sizes.
#pragma once
#include "components3d/union_find.cuh"

namespace dal {
namespace cuda {
namespace {

inline void build_forest(const uint32_t* bits, uint32_t* forest, const BitGrid& grid, int64_t volumes,
                         int connectivity, cudaStream_t stream) {
  if (connectivity == 6)
    build_forest<1>(bits, forest, grid, volumes, stream);
  else if (connectivity == 18)
    build_forest<2>(bits, forest, grid, volumes, stream);
  else
    build_forest<3>(bits, forest, grid, volumes, stream);
}

// Afterwards forest[root] = root + voxels of its component, which still exceeds root.
__global__ void __launch_bounds__(kThreads)
    count_voxels(const uint32_t* __restrict__ bits, uint32_t* forest, BitGrid grid) {
  const TilePlace at(grid);
  const TileWords words(bits + at.volume * grid.all_words(), grid, at);
  forest += at.volume * grid.voxels();
  uint32_t root = 0, voxels = 0;  // not yet added; neighbouring runs mostly share their root
  for (int plane = 0; plane < at.planes; ++plane) {
    const uint32_t word = words[plane];
    if (!(run_starts(word) >> at.lane & 1)) continue;
    const uint32_t node = grid.node(at.z0 + uint32_t(plane), at.y, at.x), own = find_root(forest, node);
    if (own != node) static_cast<volatile uint32_t*>(forest)[node] = own + 1;
    if (own != root) {
      if (voxels) atomicAdd(&forest[root], voxels);
      root = own;
      voxels = 0;
    }
    voxels += run_length(word, at.lane) - (own == node);  // forest[root] = root + 1 counts the root
  }
  if (voxels) atomicAdd(&forest[root], voxels);
}

// Voxels of the component of `root`, afterwards.
__device__ __forceinline__ uint32_t component_size(const uint32_t* forest, uint32_t root) {
  return forest[root] - root;
}

}  // namespace
}  // namespace cuda
}  // namespace dal
