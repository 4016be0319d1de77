// Launchers asked for more blocks than a grid has, and CUDA errors that somebody else left behind: what
// is said of them. Linked against the kernels' own libraries; no launch reaches memory.
#include <cstring>
#include <string>

#include "gpu.h"
#include "median3d/median3d.h"
#include "on_device.h"
#include "onehot/onehot.h"
#include "ssim_l1/ssim_l1.h"
#include "tfce3d/tfce3d.h"
#include "voxel_metrics/voxel_metrics.h"

using namespace dal;

namespace {

std::string said;

template <class F>
const char* message_of(F f) {
  try {
    f();
    said = "";
  } catch (const std::exception& error) {
    said = error.what();
  }
  return said.c_str();
}

alignas(64) float x[1024], y[1024], out[1024];
constexpr int64_t kMany = (int64_t(1) << 32) + 1;  // 1 in 32 bits

}  // namespace

extern "C" {

const char* many_volumes(const char* op) {
  return message_of([op] {
    if (!strcmp(op, "onehot_forward"))
      cuda::onehot_forward(x, nullptr, nullptr, out, {kMany, 1, 1}, DType::f32, nullptr);
    if (!strcmp(op, "onehot_backward"))
      cuda::onehot_backward(x, y, nullptr, nullptr, out, {kMany, 1, 1}, 1.0, DType::f32, nullptr);
    if (!strcmp(op, "median3d"))
      cuda::median3d(x, nullptr, out, nullptr, {kMany, 1, 1, 1, 1, 3}, DType::f32, nullptr);
    const double weights[6] = {1};
    SsimProblem problem{kMany, 1, 1, 1, weights, 5, 1e-4, 9e-4, DType::f32, y};
    if (!strcmp(op, "ssim_map")) cuda::ssim_map(x, y, out, false, problem, nullptr);
    problem.radius = 2;
    if (!strcmp(op, "ssim_map, any radius")) cuda::ssim_map(x, y, out, false, problem, nullptr);
    if (!strcmp(op, "tfce3d"))
      cuda::tfce3d_branches(x, nullptr, nullptr, nullptr, {kMany, 1, 1, 1, 26, 0.5, 2}, DType::f32, nullptr);
    int64_t counts[8], span[8];
    if (!strcmp(op, "score_histogram"))
      cuda::score_histogram(x, nullptr, nullptr, 0, {nullptr, 0, kMany * 128}, 0, nullptr, counts, span,
                            DType::f32, nullptr);
  });
}

// The median of one voxel after an error that another call left behind, then once more.
const char* after_an_earlier_error() {
  cudaSetDevice(7);  // there is none, and nobody asks
  return message_of([] {
    cuda::median3d(x, nullptr, out, nullptr, {1, 1, 1, 1, 1, 3}, DType::f32, nullptr);
  });
}
const char* once_more() {
  return message_of([] {
    cuda::median3d(x, nullptr, out, nullptr, {1, 1, 1, 1, 1, 3}, DType::f32, nullptr);
  });
}

const char* on_device(int device) {
  return message_of([device] { const cuda::OnDevice on(device); });
}
int error_left() { return int(cudaGetLastError()); }
}
