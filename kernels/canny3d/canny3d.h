// 3D Canny edges, of a volume or of the anatomical image that tissue logits stand for.
//
//   A(v) = x(v), or c_k with k = argmax_j z_j(v)                the image; m(v): mask, 1 without one
//   s    = (g * (m A)) / (g * m)                                Gaussian g, nothing beyond the border
//   G    = Sobel(s) / 32,  M = |G|                              a ramp of one unit a voxel has M = 1
//   weak = m and M >= low and M > 0 and M(v + d), M(v - d) <= (1 + tie) M(v),  d = G / max_i |G_i|
//   edge = weak voxels that touch (26 neighbours) a chain of weak voxels holding one with M >= high
//
// M between voxels is trilinear; s and M repeat their edge voxel beyond the border. See README.md.
#pragma once
#include <cstdint>

#include "dtype.h"
#include "isa.h"

namespace dal {

// Contiguous (batch, channels, depth, height, width). With `levels` (channels) the values are logits and
// there is one image a batch entry, else one a channel. mask: (batch, depth, height, width) or null.
struct CannyInput {
  const void* values;
  const double* levels;
  const uint8_t* mask;
  int64_t batch, channels, depth, height, width;
  DType dtype;
};

// taps: g(0) ... g(radius) up to a common factor; low, high: gray value per voxel.
struct CannyParameters {
  const double* taps;
  int64_t radius;
  double low, high;
};

// Bytes of scratch that canny3d needs at this radius; its start is aligned to 64 bytes.
DAL_DECLARE(int64_t canny3d_workspace(const CannyInput& input, int64_t radius, int threads))

// edges: (batch, channels or 1, depth, height, width), 0 or 1.
DAL_DECLARE(void canny3d(const CannyInput& input, const CannyParameters& parameters, void* workspace,
                         uint8_t* edges, int threads))

// The same on a GPU: device pointers (those to levels and taps stay
// host pointers), the caller's stream. Float32, float16, bfloat16; fewer than 2^31 voxels a volume and at
// most 256 levels, else std::invalid_argument. Neither allocates nor synchronises.
namespace cuda {
int64_t canny3d_workspace(const CannyInput& input, int64_t radius);
void canny3d(const CannyInput& input, const CannyParameters& parameters, void* workspace, uint8_t* edges,
             void* stream);
}  // namespace cuda

}  // namespace dal
