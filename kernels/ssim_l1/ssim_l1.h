// Windowed SSIM of two volumes, its product with |x - y|, its mean with the mean |x - y|, gradients.
//
// F is the separable window (weights w[-r..r], sum 1, symmetric) with the border that repeats the edge
// voxel. With u = (x - s) - (y - t), v = (x - s) + (y - t) and per-volume shifts s, t near the means:
//
//   Mu = F[u] + s - t            Mv = F[v] + s + t
//   Q1 = Mu^2 / 2                P1 = Mv^2 / 2 + c1          c1 = (0.01 L)^2, L = data range
//   Q2 = (F[u^2] - F[u]^2) / 2   P2 = (F[v^2] - F[v]^2) / 2 + c2     c2 = (0.03 L)^2
//   SSIM     = (P1 - Q1)(P2 - Q2) / ((P1 + Q1)(P2 + Q2))     the textbook's formula, rewritten
//   1 - SSIM = 2 (P1 Q2 + Q1 P2) / ((P1 + Q1)(P2 + Q2))
//
// README.md derives both and the gradient.
#pragma once
#include <cstdint>

#include "dtype.h"
#include "isa.h"

namespace dal {

// x, y, maps and gradients are contiguous (volumes, depth, height, width), volumes = N * C.
// weights: w[0..radius] in double, radius <= 16. workspace: ssim_workspace() bytes, 8-byte aligned.
struct SsimProblem {
  int64_t volumes, depth, height, width;
  const double* weights;
  int radius;
  double c1, c2;
  DType dtype;
  void* workspace;
};

// Elements of a row of `fields`, whose shape is (volumes, depth, height, 4, padded width) in the
// arithmetic type: the derivatives of sum(g * SSIM) with respect to F[u], F[u^2], F[v], F[v^2].
constexpr int64_t ssim_padded(int64_t width) { return (width + 15) / 16 * 16; }

// Bytes of workspace; the pointers of `problem` are not read.
DAL_DECLARE(int64_t ssim_workspace(SsimProblem problem, int threads))

// out = SSIM, or |x - y| (1 - SSIM) when `hybrid`.
DAL_DECLARE(void ssim_map(const void* x, const void* y, void* out, bool hybrid, SsimProblem problem,
                          int threads))

// sums[0] = sum |x - y|, sums[1] = sum (1 - SSIM); `fields` (null: not wanted) with g = 1.
DAL_DECLARE(void ssim_sums(const void* x, const void* y, double* sums, void* fields, SsimProblem problem,
                           int threads))

// `fields` for the upstream gradient g = grad of the SSIM map.
DAL_DECLARE(void ssim_fields(const void* x, const void* y, const void* grad, void* fields,
                             SsimProblem problem, int threads))

// grad_x, grad_y (null: not wanted) of  *upstream (scale * sum(g * SSIM) + l1 * sum |x - y|); no
// upstream: 1.
DAL_DECLARE(void ssim_backward(const void* x, const void* y, const void* fields, const double* upstream,
                               double scale, double l1, void* grad_x, void* grad_y, SsimProblem problem,
                               int threads))

// The same on a GPU: device pointers (problem.weights: host), the caller's stream; float32, float16,
// bfloat16, fields in float32. Neither allocates nor synchronises.
namespace cuda {
int64_t ssim_workspace(SsimProblem problem);
void ssim_map(const void* x, const void* y, void* out, bool hybrid, SsimProblem problem, void* stream);
void ssim_sums(const void* x, const void* y, double* sums, void* fields, SsimProblem problem, void* stream);
void ssim_fields(const void* x, const void* y, const void* grad, void* fields, SsimProblem problem,
                 void* stream);
void ssim_backward(const void* x, const void* y, const void* fields, const double* upstream, double scale,
                   double l1, void* grad_x, void* grad_y, SsimProblem problem, void* stream);
}  // namespace cuda

}  // namespace dal
