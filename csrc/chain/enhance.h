// The enhanced score of one scan and sign (dal_fast/screening/enhance.py).
#pragma once
#include "boxssim/boxssim.h"
#include "chain/shape.h"
#include "residual/residual.h"

namespace dal {

struct EnhanceSettings {
  BoxWindows windows{4, {3, 5, 7, 11}};  // of the structural similarity
  float least_structure = 0.3f;  // how much counts where scan and phi are structured alike
  float usual_least = 0.25f;  // added to the residual that is usual at a place
  double extent_power = 0.5, height_power = 1;  // of threshold-free cluster enhancement
  int connectivity = 26;
};

int64_t structural_difference_workspace(Shape shape, const EnhanceSettings& settings,
                                        int threads);  // bytes

// g: the mean over 9^3 of (1 - fluid)(1 - SSIM), over all windows; 0 outside the mask.
void structural_difference(const float* x, const float* phi, const float* fluid, const uint8_t* mask,
                           const EnhanceSettings& settings, float* out, Shape shape, void* workspace,
                           int threads);

int64_t enhanced_workspace(Shape shape, const EnhanceSettings& settings, int threads);  // bytes

// How one sign is scored.
struct Signed {
  float sign;  // 1 for bright lesions, -1 for dark ones
  bool smoothed;  // the geometric mean of residual and smoothed residual counts, not the residual alone
  float level;  // by which e is divided
  const float* usual;  // residual that is usual at a place, (depth, height, width), or null
};

// e of a sign, 0 outside the mask.
//
// structure: g / g_0. evidence: probability of an abnormal voxel, or null.
void enhanced(const Compared& scan, const float* structure, const float* evidence, const Signed& sign,
              const EnhanceSettings& settings, float* out, Shape shape, void* workspace, int threads);

}  // namespace dal
