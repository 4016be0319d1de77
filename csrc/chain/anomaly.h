// One scan's anomaly map of the default score: bright or dark lesions, whichever stands out
// (dal_fast/screening/calibration.py).
#pragma once
#include "chain/enhance.h"

namespace dal {

enum class Contrast : int { t1w = 0, t2w = 1, flair = 2 };

// What healthy brains of one contrast show under the model, of lesions of one sign.
struct SignCalibration {
  double threshold = 1;  // what one voxel in a thousand exceeds
  double peak = 1.5, peak_sd = 0.35;  // how far a map stands out: mean and standard deviation
  const float* usual = nullptr;  // see Signed
};

struct Calibrated {
  double structure = 1, combined = 1;  // thresholds of g, and of the map itself
  SignCalibration bright, dark;
  bool usually_dark, smoothed;
  double benefit;  // of the doubt, that the usual sign has, in standard deviations
  double structure_share;  // what g / g_0, or what of g is unusual, adds to a map
  const float* usual_structure = nullptr;  // g that is usual at a place, (depth, height, width), or null

  // Of a model that was never calibrated.
  explicit Calibrated(Contrast contrast)
      : usually_dark(contrast == Contrast::t1w),
        smoothed(contrast != Contrast::flair),
        benefit(contrast == Contrast::t1w ? 2.5 : 5.0),
        structure_share(contrast == Contrast::t1w ? 0.5 : 0) {}
};

struct WeighingSettings {
  double peak_share = 0.0003;  // of the voxels, whose mean is a map's E
  double common_share = 0.7;  // of log R
  double least_sd = 0.05, least_peak = 1e-6;
};

struct SignsWeighed {
  double bright, dark;  // what each sign's map counts: 1 for the one that stands out
  int shown;  // 1 bright, -1 dark
};

int64_t anomaly_map_workspace(Shape shape, const EnhanceSettings& settings, int threads);  // bytes

// The map, at least 0, not smoothed, in units of its healthy level: its threshold is 1. evidence:
// probability of an abnormal voxel, or null.
SignsWeighed anomaly_map(const Compared& scan, const float* evidence, const Calibrated& calibration,
                         const EnhanceSettings& settings, const WeighingSettings& weighing, float* out,
                         Shape shape, void* workspace, int threads);

}  // namespace dal
