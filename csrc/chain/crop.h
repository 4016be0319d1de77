// What the networks see of a volume: the brain, a margin, and sides that suit them (brain_pads of
// dal_fast/models/model.py).
#pragma once
#include "chain/shape.h"

namespace dal {

// Voxel (d, h, w) of the box is voxel (d + first[0], ...) of the volume; it may lie outside.
struct Crop {
  int64_t first[3];
  Shape box;
};

// mask: 0 or not. Sides are the brain's and twice the margin, rounded up to a multiple of `stride`; of an
// odd number of voxels around the brain one more comes after it. Without a voxel in the mask the box has no
// side.
Crop plan_crop(const uint8_t* mask, Shape shape, int64_t margin, int64_t stride);

// `channels` volumes into the box, and back; what lies outside the other is 0.
void crop(const float* volume, Shape shape, const Crop& crop, int64_t channels, float* box, int threads);
void crop(const uint8_t* volume, Shape shape, const Crop& crop, int64_t channels, uint8_t* box,
          int threads);
void uncrop(const float* box, const Crop& crop, Shape shape, int64_t channels, float* volume, int threads);

}  // namespace dal
