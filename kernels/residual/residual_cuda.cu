// What lies between the networks and the clusters of the enhanced score, on a GPU: one pass over the voxels
// each, a voxel a thread, where torch makes one pass an operation.
#include "gpu.h"
#include "residual/residual.h"

namespace dal {
namespace cuda {
namespace {

constexpr int kThreads = 256, kVoxelsAThread = 4;
constexpr int64_t kVoxelsABlock = kThreads * kVoxelsAThread;

__global__ void __launch_bounds__(kThreads)
    signed_residual_kernel(Signs s, float* __restrict__ out, int64_t voxels) {
  const int64_t first = blockIdx.x * kVoxelsABlock + threadIdx.x;
#pragma unroll
  for (int j = 0; j < kVoxelsAThread; ++j) {
    const int64_t i = first + j * kThreads;
    if (i >= voxels) continue;
    const float x = s.x[i];
    const float flat = fmaxf(s.sign * (x - s.phi[i]), 0.f), tolerant = fmaxf(s.sign * x - s.limit[i], 0.f);
    float r = (flat + tolerant) * (1.f - s.fluid[i]) / (2.f * s.spread[i]);
    if (s.usual) r /= s.usual_least + s.usual[i];
    out[i] = s.mask[i] ? r : 0.f;
  }
}

__global__ void __launch_bounds__(kThreads)
    cluster_heights_kernel(Heights g, float* __restrict__ out, int64_t voxels, int64_t blocks_a_scan) {
  const int64_t scan = blockIdx.x / blocks_a_scan, start = scan * voxels;
  const int64_t first = blockIdx.x % blocks_a_scan * kVoxelsABlock + threadIdx.x;
  const bool smoothed = g.smoothed[scan];
#pragma unroll
  for (int j = 0; j < kVoxelsAThread; ++j) {
    const int64_t i = first + j * kThreads;
    if (i >= voxels) continue;
    float v = g.r[start + i];
    if (smoothed) {
      const float smooth = g.smooth[start + i], root = kLeastRoot * smooth;
      v = sqrtf(v * smooth + root * root) - root;
    }
    v *= g.least + g.structure[start + i];
    out[start + i] = g.evidence ? v * sqrtf(g.evidence[start + i]) : v;
  }
}

}  // namespace

void signed_residual(const Signs& scans, float* out, int64_t voxels, void* stream) {
  if (voxels == 0) return;
  DAL_LAUNCH(signed_residual_kernel, grid_size(ceil_div(voxels, kVoxelsABlock)), kThreads, 0,
             as_stream(stream), scans, out, voxels);
  check_launch("signed_residual_kernel");
}

void cluster_heights(const Heights& given, float* out, int64_t volumes, int64_t voxels, void* stream) {
  if (volumes * voxels == 0) return;
  const int64_t blocks = ceil_div(voxels, kVoxelsABlock);
  DAL_LAUNCH(cluster_heights_kernel, grid_size(volumes * blocks), kThreads, 0, as_stream(stream), given,
             out, voxels, blocks);
  check_launch("cluster_heights_kernel");
}

}  // namespace cuda
}  // namespace dal
