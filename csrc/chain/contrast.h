// What contrast a scan looks like (guess_contrast of dal_fast/screening/contrast.py).
#pragma once
#include "chain/shape.h"

namespace dal {

struct ContrastSettings {
  float certain = 0.8f;  // probability from which a voxel counts for a tissue, or for fluid
  double fluid_quantile = 0.9;
  double t1_share = 0.08;  // least (white - grey) / white of a T1w
  int64_t enough = 50;  // voxels
};

// The order is that of chain/anomaly.h's Contrast.
enum class LooksLike : int { t1w = 0, t2w = 1, flair = 2 };

int64_t guess_contrast_workspace(Shape shape, int threads);  // bytes

// x, phi, without their bias field, and fluid: (depth, height, width); p: (3, depth, height, width); mask:
// where the scan has signal in the brain.
LooksLike guess_contrast(const float* x, const float* phi, const float* p, const float* fluid,
                         const uint8_t* mask, const ContrastSettings& settings, Shape shape,
                         void* workspace, int threads);

}  // namespace dal
