// A scan's one number: the mean of the highest values inside a mask (scan_score of
// dal_fast/screening/postprocess.py).
#pragma once
#include "chain/shape.h"

namespace dal {

constexpr double kTopShare = 0.001;  // of the mask's voxels

int64_t top_mean_workspace(int64_t voxels, double share = kTopShare);  // bytes

// The mean of the ceil(share n) largest of the n values inside the mask, summed in double from the largest
// down; 0 for an empty mask. No NaN.
double top_mean(const float* x, const uint8_t* mask, int64_t voxels, void* workspace,
                double share = kTopShare);

}  // namespace dal
