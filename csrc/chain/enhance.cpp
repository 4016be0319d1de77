#include "chain/enhance.h"

#include <algorithm>

#include "boxmean/boxmean.h"
#include "checkpoint.h"
#include "tfce3d/tfce3d.h"

namespace dal {
namespace {

struct StructureScratch {
  float *total, *mean;
  char* kernel;
  int64_t bytes;

  StructureScratch(void* workspace, Shape shape, const EnhanceSettings& settings, int threads) {
    const int64_t means = std::max(DAL_DISPATCH(box_mean_workspace, shape, 1, threads),
                                   DAL_DISPATCH(box_mean_workspace, shape, 3, threads));
    Parts parts(workspace);
    total = parts.take<float>(shape.voxels());
    mean = parts.take<float>(shape.voxels());
    kernel = parts.take<char>(
        std::max(means, DAL_DISPATCH(box_dissimilarity_workspace, shape, settings.windows, threads)));
    bytes = parts.used();
  }
};

struct EnhanceScratch {
  float *residual, *smooth;
  char* kernel;
  int64_t bytes;

  EnhanceScratch(void* workspace, Shape shape, const Tfce3dProblem& problem, int threads) {
    Parts parts(workspace);
    residual = parts.take<float>(shape.voxels());
    smooth = parts.take<float>(shape.voxels());
    kernel = parts.take<char>(std::max(DAL_DISPATCH(box_mean_workspace, shape, 1, threads),
                                       DAL_DISPATCH(tfce3d_workspace, problem, DType::f32, threads)));
    bytes = parts.used();
  }
};

Tfce3dProblem clusters(Shape s, const EnhanceSettings& e) {
  return {1, s.depth, s.height, s.width, e.connectivity, e.extent_power, e.height_power};
}

}  // namespace

int64_t structural_difference_workspace(Shape shape, const EnhanceSettings& settings, int threads) {
  return StructureScratch(nullptr, shape, settings, threads).bytes;
}

void structural_difference(const float* x, const float* phi, const float* fluid, const uint8_t* mask,
                           const EnhanceSettings& settings, float* out, Shape shape, void* workspace,
                           int threads) {
  const StructureScratch scratch(workspace, shape, settings, threads);
  const int64_t voxels = shape.voxels();
  DAL_DISPATCH(box_dissimilarity, x, phi, mask, settings.windows, scratch.total, shape, scratch.kernel,
               threads);
  checkpoint();
  DAL_DISPATCH(gate_dissimilarity, scratch.total, settings.windows.count, fluid, mask, voxels, threads);
  // nine voxels are three times three
  DAL_DISPATCH(box_mean, scratch.total, 1, scratch.mean, shape, scratch.kernel, threads);
  DAL_DISPATCH(box_mean, scratch.mean, 3, out, shape, scratch.kernel, threads);
  DAL_DISPATCH(keep_inside, out, mask, voxels, threads);
}

int64_t enhanced_workspace(Shape shape, const EnhanceSettings& settings, int threads) {
  return EnhanceScratch(nullptr, shape, clusters(shape, settings), threads).bytes;
}

void enhanced(const Compared& scan, const float* structure, const float* evidence, const Signed& sign,
              const EnhanceSettings& settings, float* out, Shape shape, void* workspace, int threads) {
  const Tfce3dProblem problem = clusters(shape, settings);
  const EnhanceScratch scratch(workspace, shape, problem, threads);
  const int64_t voxels = shape.voxels();
  DAL_DISPATCH(signed_residual, scan, sign.sign, sign.usual, settings.usual_least, scratch.residual, voxels,
               threads);
  if (sign.smoothed) {
    DAL_DISPATCH(box_mean, scratch.residual, 1, out, shape, scratch.kernel, threads);
    DAL_DISPATCH(box_mean, out, 1, scratch.smooth, shape, scratch.kernel, threads);
  }
  DAL_DISPATCH(cluster_heights, scratch.residual, sign.smoothed ? scratch.smooth : nullptr, structure,
               settings.least_structure, evidence, voxels, threads);
  checkpoint();
  DAL_DISPATCH(tfce3d, scratch.residual, scan.mask, out, scratch.kernel, problem, DType::f32, threads);
  DAL_DISPATCH(cluster_scores, out, sign.level, voxels, threads);
}

}  // namespace dal
