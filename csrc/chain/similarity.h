// SSIM of two volumes over uniform windows, in the chain's terms: data range 1.
#pragma once
#include "chain/shape.h"
#include "ssim_l1/ssim_l1.h"

namespace dal {

// Owns the weights that the kernel's problem points to.
class UniformSsim {
 public:
  UniformSsim(Shape shape, int window)
      : problem_{1,    shape.depth, shape.height, shape.width, weights_, window / 2, 0.01 * 0.01,
                 9e-4, DType::f32,  nullptr} {
    for (double& weight : weights_) weight = 1.0 / window;
  }
  UniformSsim(const UniformSsim&) = delete;
  UniformSsim& operator=(const UniformSsim&) = delete;

  int64_t workspace(int threads) const { return DAL_DISPATCH(ssim_workspace, problem_, threads); }
  void map(const float* x, const float* y, float* out, void* workspace, int threads) {
    problem_.workspace = workspace;
    DAL_DISPATCH(ssim_map, x, y, out, false, problem_, threads);
  }

 private:
  double weights_[17];
  SsimProblem problem_;
};

}  // namespace dal
