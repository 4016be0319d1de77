#include "chain/evidence.h"

#include <algorithm>

#include "boxssim/boxssim.h"
#include "chain/box.h"

namespace dal {
namespace {

constexpr BoxWindows kWindow{1, {7}};  // of the structural similarity

struct Scratch {
  float* dissimilarity;
  char* kernel;
  int64_t bytes;

  Scratch(void* workspace, Shape shape, int threads) {
    Parts parts(workspace);
    dissimilarity = parts.take<float>(shape.voxels());
    kernel = parts.take<char>(DAL_DISPATCH(box_dissimilarity_workspace, shape, kWindow, threads));
    bytes = parts.used();
  }
};

}  // namespace

int64_t residual_evidence_workspace(Shape shape, int threads) {
  return Scratch(nullptr, shape, threads).bytes;
}

void residual_evidence(const Compared& scan, const float* p, float* out, Shape shape, void* workspace,
                       int threads) {
  const Scratch scratch(workspace, shape, threads);
  DAL_DISPATCH(box_dissimilarity, scan.x, scan.phi, scan.mask, kWindow, scratch.dissimilarity, shape,
               scratch.kernel, threads);
  const Box brain = bounding_box(scan.mask, shape);
  const int64_t end = brain.last[0] + 1,
                first = std::min(brain.first[0], end);  // without a voxel both are 0
  DAL_DISPATCH(residual_channels, scan, p + shape.voxels(), p + 2 * shape.voxels(), scratch.dissimilarity,
               first, end, out, shape, threads);
}

void abnormal_probability(const float* logit, const uint8_t* mask, float* out, Shape shape, int threads) {
  DAL_DISPATCH(masked_sigmoid, logit, mask, out, shape.voxels(), threads);
}

}  // namespace dal
