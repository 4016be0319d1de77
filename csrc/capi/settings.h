// What a bundle says of its model, read once.
#pragma once
#include <cstdint>

#include "bundle/bundle.h"
#include "chain/anomaly.h"
#include "tissue/tissue.h"

namespace dal {

enum class Part : int { tissue = 0, residual_head = 1, extractor = 2 };
constexpr int kParts = 3;
constexpr const char* kPartNames[kParts] = {"tissue", "residual_head", "extractor"};
constexpr int kTissues = 3, kContrasts = 3;  // Contrast, and DAL_T1W - 1, ...
constexpr const char* kContrastNames[kContrasts] = {"T1w", "T2w", "FLAIR"};

constexpr int kUsual = 3;  // residual of bright and of dark lesions, structure
constexpr const char* kUsualNames[kUsual] = {"enhanced_positive", "enhanced_negative", "structure"};

struct Settings {
  double voxel_mm;
  int64_t stride;
  bool sees_evidence;  // the tissue network: the scan and what its intensities and the atlas say, or the
                       // scan
  float input_ceiling;
  bool residual_head;
  bool usual_residual;  // the atlases of what is usual at a place are there
  Atlas atlas;  // of tissue; in the bundle's own memory, as the others
  Atlas usual[kContrasts][kUsual];  // without values where a contrast has none
  Calibrated healthy[kContrasts] = {Calibrated(Contrast::t1w), Calibrated(Contrast::t2w),
                                    Calibrated(Contrast::flair)};
  double brain_voxel_mm, brain_reach_mm;
  int64_t brain_shape[3];

  int64_t tissue_inputs() const { return sees_evidence ? 1 + 2 * kTissues : 1; }
  int64_t tissue_outputs() const { return sees_evidence ? kTissues + 1 : kTissues; }
};

// Throws Failure (DAL_BUNDLE) for a bundle of another format, or one that asks for what this library cannot
// do.
Settings read_settings(const Bundle& bundle);

}  // namespace dal
