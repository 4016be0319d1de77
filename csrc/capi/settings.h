// What a bundle says of its model, read once.
#pragma once
#include <cstdint>

#include "bundle/bundle.h"

namespace dal {

enum class Part : int { tissue = 0, residual_head = 1, extractor = 2 };
constexpr int kParts = 3;
constexpr const char* kPartNames[kParts] = {"tissue", "residual_head", "extractor"};
constexpr int kTissues = 3, kContrasts = 3;  // DAL_T1W - 1, ...
constexpr const char* kContrastNames[kContrasts] = {"T1w", "T2w", "FLAIR"};

// Of one contrast; see dal_fast/screening/calibration.py.
struct Healthy {
  double structure = 1, enhanced = 1;  // thresholds
  double level[2] = {1, 1};  // of the bright and the dark map
  double mean[2] = {0.4, 0.4}, spread[2] = {0.2, 0.2};  // of the logarithm of their peaks
};

struct Settings {
  double voxel_mm;
  int64_t stride;
  bool sees_evidence;  // the tissue network: the scan and what its intensities and the atlas say, or the
                       // scan
  float input_ceiling;
  bool residual_head;
  Healthy healthy[kContrasts];
  double brain_voxel_mm, brain_reach_mm;
  int64_t brain_shape[3];

  int64_t tissue_inputs() const { return sees_evidence ? 1 + 2 * kTissues : 1; }
  int64_t tissue_outputs() const { return sees_evidence ? kTissues + 1 : kTissues; }
};

// Throws Failure (DAL_BUNDLE) for a bundle of another format, or one that asks for what this library cannot
// do.
Settings read_settings(const Bundle& bundle);

}  // namespace dal
