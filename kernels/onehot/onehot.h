// One-hot binarisation of tissue logits, its straight-through gradient, and the fused anatomical image.
//
//   k*(v)  = argmax_k z_k(v), ties to the lowest class
//   y_k(v) = [k = k*(v)]                      one-hot
//   A(v)   = m(v) sum_k c_k y_k(v)            anatomical image
//   p      = softmax(z / T);  dL/dz_k = p_k (g_k - sum_j p_j g_j) / T   (straight-through surrogate)
//
// For A the gradient of y_k is g_k(v) = m(v) c_k g(v).
#pragma once
#include <cstdint>

#include "dtype.h"
#include "isa.h"

namespace dal {

// Contiguous (batch, classes, voxels). `levels` (classes) and `mask` (batch, voxels) select the
// anatomical image; without levels the one-hot volume itself is meant.
struct OnehotShape {
  int64_t batch, classes, voxels;
};

// out: (batch, classes, voxels) one-hot, or (batch, 1, voxels) anatomical image when levels != null.
DAL_DECLARE(void onehot_forward(const void* logits, const double* levels, const uint8_t* mask, void* out,
                                OnehotShape shape, DType dtype, int threads))

// grad_out has the shape of forward's output; grad_logits: (batch, classes, voxels).
DAL_DECLARE(void onehot_backward(const void* logits, const void* grad_out, const double* levels,
                                 const uint8_t* mask, void* grad_logits, OnehotShape shape,
                                 double temperature, DType dtype, int threads))

// The same on a GPU: device pointers (levels: host), the caller's stream; float32, float16, bfloat16.
// Neither allocates nor synchronises.
namespace cuda {
void onehot_forward(const void* logits, const double* levels, const uint8_t* mask, void* out,
                    OnehotShape shape, DType dtype, void* stream);
void onehot_backward(const void* logits, const void* grad_out, const double* levels, const uint8_t* mask,
                     void* grad_logits, OnehotShape shape, double temperature, DType dtype, void* stream);
}  // namespace cuda

}  // namespace dal
