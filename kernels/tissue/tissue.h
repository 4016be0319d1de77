// What intensities and place say about tissue, and what the network makes of it.
//
//   evidence: x, L_k = m exp(-(x - mu_k)^2 / (2 sigma_k^2)), a_k        the atlas in the brain's bounding
//   box logit_k = t log(L_k a_k + faint) + c_k,  t = sigmoid(o + first_trust) p = m softmax(logit),  fluid
//   = 1 - (1 - p_0) (1 - a_0)
//
// mu_k and sigma_k start from weighted medians of the sampled voxels, weights a_k^4, and are sharpened by
// expectation-maximisation with a class of outliers. README.md has the formulas.
#pragma once
#include <cstdint>

#include "chain/shape.h"
#include "isa.h"

namespace dal {

constexpr int64_t kMostTissues = 16;

// dal_fast/models/evidence.py says what each is.
struct EvidenceSettings {
  float anywhere = 0.02f, outlier = 0.05f;
  float least_spread = 0.05f, first_spread = 0.15f;
  int rounds = 12;
  int64_t step = 2;  // every how manieth voxel along each axis is sampled
};
struct CombineSettings {
  float faint = 1e-3f, first_trust = 1.f;
};

// (tissues, sides) how often each tissue lies where in a brain's bounding box.
struct Atlas {
  const float* values;
  int64_t tissues;
  Shape sides;
};

// The atlas in the bounding box of the mask, 0 outside the mask; out: (tissues, depth, height, width).
// Linear between the atlas's voxels, whose outermost faces lie on the box's.
DAL_DECLARE(int64_t lay_atlas_workspace(Atlas atlas, Shape shape, int threads))  // bytes
DAL_DECLARE(void lay_atlas(Atlas atlas, const uint8_t* mask, Shape shape, float* out, void* workspace,
                           int threads))

DAL_DECLARE(int64_t tissue_evidence_workspace(Atlas atlas, Shape shape, int64_t step,
                                              int threads))  // bytes

// x, mask: (depth, height, width); out: (1 + 2 tissues, depth, height, width), what the network sees;
// means, spreads: (tissues). At most kMostTissues.
DAL_DECLARE(void tissue_evidence(const float* x, const uint8_t* mask, Atlas atlas, Shape shape,
                                 const EvidenceSettings& settings, float* out, float* means, float* spreads,
                                 void* workspace, int threads))

// evidence: of tissue_evidence; output: (tissues + 1, voxels), corrections and the logit of the trust.
// Without evidence, output is (tissues, voxels), the logits, and fluid p_0. logits: (tissues, voxels), or
// null; p: the same shape, 0 outside the mask; fluid: (voxels), or null.
DAL_DECLARE(void tissue_probabilities(const float* evidence, const float* output, const uint8_t* mask,
                                      int64_t tissues, int64_t voxels, const CombineSettings& settings,
                                      float* logits, float* p, float* fluid, int threads))

}  // namespace dal
