// Intensities of a scan to the model's: the brain's median becomes 0.5 (dal_fast/imaging/normalise.py).
#pragma once
#include "chain/shape.h"

namespace dal {

struct NormaliseSettings {
  double level = 0.5;  // of the median
  float widest = 2.f;  // where the image is cut off
  double standardised_share = 0.1;  // a larger share of negative brain voxels: the scan was standardised
};

enum class Signal { there, none, half_is_none, too_small };

// image = (scan - offset) scale.
struct Normalised {
  Signal signal;
  double scale, offset;
  double median;  // without the offset
};

int64_t normalise_workspace(int threads);  // bytes

// scan, image: (depth, height, width), image may be scan. view: where the mask has positive values, or the
// mask for a standardised scan. image: in [0, widest], 0 outside the view. Without a signal both hold
// nothing.
Normalised normalise(const float* scan, const uint8_t* mask, const NormaliseSettings& settings,
                     float* image, uint8_t* view, Shape shape, void* workspace, int threads);

}  // namespace dal
