// Threshold-free cluster enhancement of a 3D statistic (Smith and Nichols 2009).
//
//   TFCE(u) = ∫ e(u, h)^E h^H dh,  h from 0 to x(u)
//
// e(u, h) is the number of voxels of the connected component of {v : x(v) >= h} that holds u. The integral
// is exact: e changes only at the values of voxels, and between two of them the integrand is a power.
#pragma once
#include <cstdint>

#include "dtype.h"
#include "isa.h"

namespace dal {

// Contiguous (volumes, depth, height, width); fewer than 2^31 voxels a volume.
// Connectivity: 6, 18 or 26. Powers: extent >= 0, height > -1.
struct Tfce3dProblem {
  int64_t volumes, depth, height, width;
  int connectivity;
  double extent_power, height_power;
};

// Bytes of workspace.
DAL_DECLARE(int64_t tfce3d_workspace(Tfce3dProblem problem, DType dtype, int threads))

// x, out: (volumes, depth, height, width); mask: bool, the same shape, or null for everywhere.
// Voxels that are outside the mask, not positive, or NaN are background: out is 0 there.
DAL_DECLARE(void tfce3d(const void* x, const uint8_t* mask, void* out, void* workspace,
                        Tfce3dProblem problem, DType dtype, int threads))

// The same on a GPU, in two calls with a sort between them. Device pointers, the caller's stream; neither
// allocates nor synchronises. Of every volume, which starts anew at index 0 of what is given:
//
//   x          values, 0 outside the mask, for negative ones and for NaN
//   order      voxels by falling value, equal ones in rising order: the ranks' voxels
//   branches   by the first call, of every rank; for the second, sorted, equal ones in the order of ranks
//   ranks      that sort's indices
//
// The workspace is the same for both.
namespace cuda {
int64_t tfce3d_workspace(Tfce3dProblem problem);
void tfce3d_branches(const void* x, const int64_t* order, int32_t* branches, void* workspace,
                     Tfce3dProblem problem, DType dtype, void* stream);
void tfce3d_sums(const void* x, const int64_t* order, const int32_t* branches, const int64_t* ranks,
                 void* out, void* workspace, Tfce3dProblem problem, DType dtype, void* stream);
}  // namespace cuda

}  // namespace dal
