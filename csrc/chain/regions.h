// The anomaly mask and its regions, on any grid (dal_fast/screening/postprocess.py).
//
// Volumes as they lie in memory: (K, J, I) of a scan in Fortran order, whose voxel (i, j, k) the affine
// takes to world millimetres.
#pragma once
#include "chain/shape.h"
#include "chain/voxel.h"

namespace dal {

constexpr double kLeastRegionMl = 0.1;

// Fewest voxels that make a region of `least_ml`.
int64_t least_voxels(double voxel_ml, double least_ml = kLeastRegionMl);

int64_t anomaly_mask_workspace(Shape shape, int threads);  // bytes

// anomaly >= threshold, without 26-connected regions of fewer than `least` voxels. out: 0 or 1.
void anomaly_mask(const float* anomaly, float threshold, int64_t least, uint8_t* out, Shape shape,
                  void* workspace, int threads);

struct Region {
  double volume_ml, mean;
  double centre[3];  // of the highest voxel, the first of several; millimetres, (right, anterior, superior)
  float peak;
  int32_t label;  // 1, 2, ... in the order of first voxels in memory
};

int64_t region_table_workspace(Shape shape, int64_t least, int threads);  // bytes

// The 26-connected regions of a mask that holds none of fewer than `least` voxels, highest peak first.
// Writes at most `capacity` of them to `out` and returns how many there are.
int64_t region_table(const float* anomaly, const uint8_t* mask, const double affine[16], int64_t least,
                     Region* out, int64_t capacity, Shape shape, void* workspace, int threads);

}  // namespace dal
