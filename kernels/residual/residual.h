// What scan and pseudo-healthy image say about each other, voxel by voxel: the residual head's input, what
// its logits come to, and what threshold-free cluster enhancement is given and gives.
//
// All volumes are (depth, height, width), float32; masks are bytes, 0 or not. Nothing is allocated.
#pragma once
#include <cstdint>

#include "chain/shape.h"
#include "isa.h"

namespace dal {

// One scan. `highest` and `lowest` are highest_nearby (kernels/nearby) of phi and of -phi, so that phi lies
// between -lowest and highest nearby; `spread` is sigma of kernels/spread.
struct Compared {
  const float *x, *phi, *fluid, *highest, *lowest, *spread;
  const uint8_t* mask;
};

constexpr int64_t kResidualChannels = 11;
constexpr float kMostSpreads = 8.f;

// The head's channels, out: (11, depth, height, width), 0 outside the mask:
//
//   2 x - 1, 2 (x - phi), (x - highest) / (4 sigma) in [0, 2], (-lowest - x) / (4 sigma) in [0, 2], fluid,
//   grey, white, channels 1 and 0 of the voxel mirrored in planes [first, end), 0 elsewhere, 1 - SSIM, mask
//
// dissimilarity: 1 - SSIM(x, phi) over uniform windows of 7^3 (kernels/boxssim).
DAL_DECLARE(void residual_channels(const Compared& scan, const float* grey, const float* white,
                                   const float* dissimilarity, int64_t first, int64_t end, float* out,
                                   Shape shape, int threads))

// out = 1 / (1 + exp(-logit)) in the mask, 0 outside; out may be logit.
DAL_DECLARE(void masked_sigmoid(const float* logit, const uint8_t* mask, float* out, int64_t voxels,
                                int threads))

// total = total / windows (1 - fluid) in the mask, 0 outside.
DAL_DECLARE(void gate_dissimilarity(float* total, int windows, const float* fluid, const uint8_t* mask,
                                    int64_t voxels, int threads))

// x = x mask.
DAL_DECLARE(void keep_inside(float* x, const uint8_t* mask, int64_t voxels, int threads))

// r of one sign, s = 1 (brighter than healthy) or -1:
//
//   r = (1 - fluid) mask (max(s (x - phi), 0) + max(s x - h, 0)) / (2 sigma)    h = highest or lowest
//
// divided by `usual_least` + usual, where there is a volume `usual`.
DAL_DECLARE(void signed_residual(const Compared& scan, float sign, const float* usual, float usual_least,
                                 float* out, int64_t voxels, int threads))

// r = k (least + structure) sqrt(evidence), without `evidence` no such factor, with
//
//   k = sqrt(r smooth + (smooth / 20)^2) - smooth / 20
//
// which is 0 for r = 0, and there no steeper than 10; without `smooth` k = r.
constexpr float kLeastRoot = 0.05f;
DAL_DECLARE(void cluster_heights(float* r, const float* smooth, const float* structure, float least,
                                 const float* evidence, int64_t voxels, int threads))

// structure = max(structure - usual / level, 0).
DAL_DECLARE(void structural_excess(float* structure, const float* usual, float level, int64_t voxels,
                                   int threads))

// e = sqrt(e) / level.
DAL_DECLARE(void cluster_scores(float* e, float level, int64_t voxels, int threads))

// x = x / level.
DAL_DECLARE(void in_units(float* x, float level, int64_t voxels, int threads))

// out = max((a + share structure) weight_a, (b + share structure) weight_b); out may be a.
struct SignWeights {
  float a, b, share;
};
DAL_DECLARE(void combine_signs(const float* a, const float* b, const float* structure, SignWeights weights,
                               float* out, int64_t voxels, int threads))

// out = max(map, near, wide) / level inside the mask, 0 outside; out may be any of the three.
DAL_DECLARE(void with_surroundings(const float* map, const float* near, const float* wide, float level,
                                   const uint8_t* mask, float* out, int64_t voxels, int threads))

// 1 CSF, 2 grey, 3 white matter, whichever is the most probable; 0 outside the mask. p: (3, voxels).
DAL_DECLARE(void tissue_labels(const float* p, const uint8_t* mask, uint8_t* out, int64_t voxels,
                               int threads))

// Of `volumes` scans on a GPU: device pointers, the caller's stream; neither allocates nor synchronises.
namespace cuda {

// signed_residual above. `limit`: highest nearby of sign phi; `usual` may be null.
struct Signs {
  const float *x, *phi, *limit, *fluid, *spread, *usual;
  const uint8_t* mask;
  float sign, usual_least;
};
void signed_residual(const Signs& scans, float* out, int64_t voxels, void* stream);

// cluster_heights above into out, of scans of `voxels` each, with `smooth` for those that are `smoothed`
// (one value a scan); `evidence` may be null.
struct Heights {
  const float *r, *smooth, *structure, *evidence;
  const uint8_t* smoothed;
  float least;
};
void cluster_heights(const Heights& given, float* out, int64_t volumes, int64_t voxels, void* stream);

}  // namespace cuda

}  // namespace dal
