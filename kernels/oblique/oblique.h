// A volume at points of a grid that lies obliquely in it: trilinear between eight voxels, or the nearest.
//
//   position of result (d, h, w) along axis a of the source:
//     p_a = offset_a + d step_d_a + h step_h_a + w step_w_a        voxels, centres at 0 to size - 1
//
// Within half a voxel beyond the outermost centres the edge voxel is repeated; further out the result is 0.
#pragma once
#include <cstdint>

#include "dtype.h"
#include "isa.h"

namespace dal {

// One axis of the source, of `size` voxels that are `stride` elements apart.
struct ObliqueAxis {
  int64_t size, stride;
  double offset, step_d, step_h, step_w;
};

// Of the result: shape, and where rows begin; W is contiguous.
struct Oblique {
  ObliqueAxis axes[3];
  int64_t depth, height, width, stride_d, stride_h;
  bool nearest;
};

// x: voxel (0, 0, 0). out: float32, every voxel is written.
DAL_DECLARE(void oblique3d(const void* x, Voxel kind, const Oblique& plan, float* out, int threads))

}  // namespace dal
