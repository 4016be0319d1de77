// Connected components of a 3D mask.
//
//   u ~ v  when both are in the mask, |u - v|_inf = 1 and |u - v|_1 <= 1, 2, 3 for connectivity 6, 18, 26
//
// Components are the classes of the transitive closure of ~; they are numbered 1..K in the raster order
// (z, then y, then x) of their first voxels, separately in every volume.
#pragma once
#include <cstdint>

#include "isa.h"

namespace dal {

// Contiguous (volumes, depth, height, width); fewer than 2^32 voxels a volume. Connectivity: 6, 18, 26.
struct Components3dShape {
  int64_t volumes, depth, height, width;
  int connectivity;
};

// Bytes of workspace that either function needs for the same shape and threads.
DAL_DECLARE(int64_t components3d_workspace(Components3dShape shape, int threads))

// mask: bool, labels: int32 (volumes, depth, height, width); 0 outside the mask.
DAL_DECLARE(void components3d(const uint8_t* mask, int32_t* labels, void* workspace,
                              Components3dShape shape, int threads))

// out: bool, the components of at least min_voxels voxels.
DAL_DECLARE(void remove_small(const uint8_t* mask, uint8_t* out, void* workspace, Components3dShape shape,
                              int64_t min_voxels, int threads))

// The same on a GPU: device pointers, the caller's stream. Neither allocates nor synchronises.
namespace cuda {
int64_t components3d_workspace(Components3dShape shape);
void components3d(const uint8_t* mask, int32_t* labels, void* workspace, Components3dShape shape,
                  void* stream);
void remove_small(const uint8_t* mask, uint8_t* out, void* workspace, Components3dShape shape,
                  int64_t min_voxels, void* stream);
}  // namespace cuda

}  // namespace dal
