// From the predicted distance to the brain's border to a clean one, and how far to trust it
// (dal_fast/screening/brain_distance.py, brain_extraction.py, imaging/brain_shape.py).
#pragma once
#include "chain/shape.h"

namespace dal {

constexpr float kOutsideMm = 10.f;  // distance from the brain of everything that the network does not see

// Bits of BrainFound::unusual.
enum BrainOddity : uint32_t {
  kOddWidth = 1,  // width and length are not a brain's
  kOddHeight = 2,  // height and length are not a brain's
  kOddHalves = 4,  // its halves differ
  kUpsideDown = 8,  // its end is above
  kTurnedRound = 16,  // it is wider in front than behind
};

struct BrainFound {
  bool any;  // is there a component at all? All else is 0 without.
  double confidence, agreement, sharpness, sphericity;  // see MaskQuality of dal_fast/imaging/mask.py
  double symmetry;  // Dice of the mask with its mirror image
  uint32_t unusual;  // BrainOddity
  bool cut;  // by a face of the field of view
};

int64_t brain_distance_workspace(Shape shape, int threads);  // bytes

// first, mirrored: distances in millimetres, positive inside, predicted for a head and, mirrored back, for
// its mirror image; both are cut off a voxel outside of the scan. faces: distance_to_faces, or null. clean:
// the mean of the two with the sign of its largest component, holes filled.
BrainFound brain_distance(float* first, float* mirrored, const float* faces, double voxel_mm, float* clean,
                          Shape shape, void* workspace, int threads);

// distance += kOutsideMm, since resampling to the scan's grid fills with 0.
void lift_distance(float* distance, int64_t voxels);
// The brain on the scan's grid, 0 or 1, of a lifted and resampled distance. Returns its voxels.
int64_t brain_mask(const float* lifted, uint8_t* mask, int64_t voxels, int threads);

struct BrainLimits {
  double hopeless = 0.1, unlikely = 0.7;  // confidence: refused below, refused below if unusual
  double roundest = 0.95,
         round = 0.93;  // sphericity of what no face cuts: refused above, refused above if unusual
  double smallest_ml = 150, largest_ml = 2600;
};

enum class BrainVerdict : int { taken = 0, none = 1, volume = 2, unclear = 3, round = 4 };

// Whether a mask is a brain's.
BrainVerdict judge_brain(const BrainFound& found, double millilitres, const BrainLimits& limits = {});

}  // namespace dal
