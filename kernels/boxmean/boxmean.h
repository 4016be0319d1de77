// The mean over 27 voxels that lie `step` apart; beyond the volume there are zeros.
//
//   out(d, h, w) = 1/27 sum over a, b, c in {-1, 0, 1} of x(d + a step, h + b step, w + c step)
//
// Twice with step 1 it is a small bell; with step 1 and then 3, the mean over 9^3.
#pragma once
#include <cstdint>

#include "chain/shape.h"
#include "isa.h"

namespace dal {

DAL_DECLARE(int64_t box_mean_workspace(Shape shape, int64_t step, int threads))  // bytes

// x, out: (depth, height, width), not the same memory; step >= 1.
DAL_DECLARE(void box_mean(const float* x, int64_t step, float* out, Shape shape, void* workspace,
                          int threads))

// The same of `volumes` of that shape on a GPU, step 1, 3 or 9: device pointers, the caller's
// stream; neither allocates nor synchronises.
namespace cuda {
void box_mean(const float* x, int64_t step, float* out, int64_t volumes, Shape shape, void* stream);
}  // namespace cuda

}  // namespace dal
