// Instance normalisation and leaky rectifier of a network's activations, in two passes over them, on a GPU.
//
//   y(n, c, v) = f((x(n, c, v) - m(n, c)) / sqrt(s(n, c) + eps) gain(c) + shift(c))
//   f(t) = t for t > 0, slope t otherwise                     slope = 1: no rectifier
//
// m and s: mean and variance over the voxels v, in float32 whatever x is stored in.
#pragma once
#include <cstdint>

#include "dtype.h"

namespace dal {

// Activations of `volumes` scans; voxel-major (volumes, voxels, channels), torch's channels-last, or
// channel-major (volumes, channels, voxels).
struct InstanceNormProblem {
  int64_t volumes, channels, voxels;
  bool channels_last;
  float eps, slope;
};

// Device pointers, the caller's stream; float32, float16, bfloat16. Neither allocates nor synchronises.
namespace cuda {
int64_t instance_norm_workspace(InstanceNormProblem problem);  // bytes
// gain and shift: float32, `channels` each, or both null. y may be x.
void instance_norm(const void* x, const float* gain, const float* shift, void* y, void* workspace,
                   InstanceNormProblem problem, DType dtype, void* stream);
}  // namespace cuda

}  // namespace dal
