// How far a scan usually is from its pseudo-healthy image, voxel by voxel, from the tissues' own spreads.
//
//   s_k      = 1.4826 median |x - phi| over the voxels of the mask with p_k > certain, at least `least`;
//              `unknown` where there are fewer than `enough` of them
//   sigma(v) = max(least, sum_k p_k(v) s_k) in the mask, 1 outside
//
// The median of an even number is the lower of the two in the middle.
#pragma once
#include <cstdint>

#include "isa.h"

namespace dal {

struct SpreadSettings {
  float certain = 0.8f;
  int64_t enough = 50;
  float least = 0.02f, unknown = 0.1f;
};

DAL_DECLARE(int64_t usual_spread_workspace(int64_t voxels, int threads))  // bytes

// x, phi, out: (voxels); p: (tissues, voxels); mask: (voxels), where the scan has signal inside the brain;
// spreads: (tissues), s_k.
DAL_DECLARE(void usual_spread(const float* x, const float* phi, const float* p, const uint8_t* mask,
                              int64_t tissues, int64_t voxels, const SpreadSettings& settings, float* out,
                              float* spreads, void* workspace, int threads))

}  // namespace dal
