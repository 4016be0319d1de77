#include "chain/evidence.h"

#include "boxssim/boxssim.h"

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

// The planes [first, end) that hold the mask; none: [0, 0).
void extent_of(const uint8_t* mask, Shape s, int64_t& first, int64_t& end) {
  const int64_t plane = s.height * s.width;
  const auto empty = [&](int64_t d) {
    uint8_t any = 0;
    for (int64_t i = d * plane; i < (d + 1) * plane; ++i) any |= mask[i];
    return any == 0;
  };
  first = 0, end = s.depth;
  while (end > 0 && empty(end - 1)) --end;
  while (first < end && empty(first)) ++first;
}

}  // namespace

int64_t residual_evidence_workspace(Shape shape, int threads) {
  return Scratch(nullptr, shape, threads).bytes;
}

void residual_evidence(const Compared& scan, const float* p, float* out, Shape shape, void* workspace,
                       int threads) {
  const Scratch scratch(workspace, shape, threads);
  DAL_DISPATCH(box_dissimilarity, scan.x, scan.phi, scan.mask, kWindow, scratch.dissimilarity, shape,
               scratch.kernel, threads);
  int64_t first, end;
  extent_of(scan.mask, shape, first, end);
  DAL_DISPATCH(residual_channels, scan, p + shape.voxels(), p + 2 * shape.voxels(), scratch.dissimilarity,
               first, end, out, shape, threads);
}

void abnormal_probability(const float* logit, const uint8_t* mask, float* out, Shape shape, int threads) {
  DAL_DISPATCH(masked_sigmoid, logit, mask, out, shape.voxels(), threads);
}

}  // namespace dal
