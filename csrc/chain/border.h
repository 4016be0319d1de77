// Whether a voxel lies on the border of a mask, of bytes that are 0 or not; beyond the volume is outside.
//
// A brain mask's border holds voxels of no brain, which are dark and pass for fluid.
#pragma once
#include "chain/shape.h"
#include "integers.h"

namespace dal {

// Whether a voxel's six neighbours are of the mask, too.
DAL_EVERYWHERE bool surrounded(const uint8_t* mask, Shape s, int64_t d, int64_t h, int64_t w) {
  if (d < 1 || h < 1 || w < 1 || d + 2 > s.depth || h + 2 > s.height || w + 2 > s.width) return false;
  const int64_t plane = s.height * s.width;
  const uint8_t* const m = mask + d * plane + h * s.width + w;
  return m[-1] && m[1] && m[-s.width] && m[s.width] && m[-plane] && m[plane];
}

}  // namespace dal
