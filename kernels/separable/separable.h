// A volume on another grid whose axes run along its own: one weighted sum of a few voxels an axis.
//
//   out(d, h, w) = sum_abc wd_a(d) wh_b(h) ww_c(w) x(id_a(d), ih_b(h), iw_c(w))
//
// Index and weight of every tap come from outside: interpolation, anti-aliasing, nearest neighbours, flips
// and crops are all the same to it.
#pragma once
#include <cstdint>

#include "dtype.h"
#include "isa.h"

namespace dal {

// One axis of the result: `index` and `weight` are (taps, count); the source has `size` voxels along it,
// `stride` elements apart.
struct AxisTaps {
  const int32_t* index;
  const float* weight;
  int64_t taps, count, size, stride;
};

// Axes D, H and W of the result, whose own W is contiguous.
struct Separable {
  AxisTaps axes[3];
  int64_t stride_d, stride_h;
};

DAL_DECLARE(int64_t separable3d_workspace(const Separable& plan, int threads))  // bytes
DAL_DECLARE(void separable3d(const void* x, Voxel kind, const Separable& plan, float* out, void* workspace,
                             int threads))

}  // namespace dal
