// The volume of a voxel.
#pragma once
#include <cmath>

namespace dal {

// Of an affine of four by four, voxel to millimetres.
inline double voxel_ml(const double a[16]) {
  const double determinant = a[0] * (a[5] * a[10] - a[6] * a[9]) - a[1] * (a[4] * a[10] - a[6] * a[8]) +
                             a[2] * (a[4] * a[9] - a[5] * a[8]);
  return std::abs(determinant) / 1000;
}

}  // namespace dal
