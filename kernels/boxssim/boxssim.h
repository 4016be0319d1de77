// How differently two volumes are structured, over several uniform windows at once.
//
//   out(v) = sum over windows of 1 - SSIM(x, y)(v)   in the mask, 0 outside
//
// SSIM as in kernels/ssim_l1, with the border that repeats the edge voxel; intensities near [0, 1], which
// is the data range. At least 0.
#pragma once
#include <cstdint>

#include "chain/shape.h"
#include "isa.h"

namespace dal {

struct BoxWindows {
  int count;  // at most four
  int sides[4];  // voxels: 3, 5, 7 or 11
};

DAL_DECLARE(int64_t box_dissimilarity_workspace(Shape shape, BoxWindows windows, int threads))  // bytes

// x, y, out: (depth, height, width); mask: bytes, the same shape.
DAL_DECLARE(void box_dissimilarity(const float* x, const float* y, const uint8_t* mask, BoxWindows windows,
                                   float* out, Shape shape, void* workspace, int threads))

}  // namespace dal
