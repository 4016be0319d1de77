// The residual head's input, and what its logits come to (dal_fast/models/residual_head.py).
#pragma once
#include "chain/shape.h"
#include "residual/residual.h"

namespace dal {

int64_t residual_evidence_workspace(Shape shape, int threads);  // bytes

// p: probabilities of CSF, grey and white matter, (3, depth, height, width). out: (11, depth, height,
// width), 0 outside the mask. Spread of `scan` is that inside the mask where x > 0; the nearby range that
// in the mask.
void residual_evidence(const Compared& scan, const float* p, float* out, Shape shape, void* workspace,
                       int threads);

// Probability of an abnormal voxel, 0 outside the mask; `out` may be `logit`.
void abnormal_probability(const float* logit, const uint8_t* mask, float* out, Shape shape, int threads);

}  // namespace dal
