#include "chain/contrast.h"

#include <algorithm>

#include "chain/chunks.h"
#include "checkpoint.h"
#include "selection/selection.h"

namespace dal {
namespace {

struct Scratch {
  uint8_t* chosen;
  char* kernel;
  int64_t bytes;

  Scratch(void* workspace, Shape shape, int threads) {
    Parts parts(workspace);
    chosen = parts.take<uint8_t>(shape.voxels());
    kernel = parts.take<char>(selection_workspace(threads));
    bytes = parts.used();
  }
};

struct Chooser {
  const Scratch& s;
  const uint8_t* mask;
  const ContrastSettings& settings;
  int64_t voxels;
  int threads;

  // The voxels of the mask where a tissue is certain. How many these are.
  int64_t choose(const float* image, const float* share) const {
    each(voxels, threads, [&](int64_t i) { s.chosen[i] = share[i] > settings.certain && mask[i]; });
    return DAL_DISPATCH(selection_counts, image, s.chosen, voxels, threads).inside;
  }

  float ranked(const float* image, int64_t rank) const {
    return DAL_DISPATCH(selection_kth, image, s.chosen, voxels, rank, false, s.kernel, threads);
  }

  // The lower median of phi where a tissue is certain, else its mean weighted by the tissue's probability.
  double median(const float* phi, const float* share) const {
    const int64_t count = choose(phi, share);
    if (count >= settings.enough) return ranked(phi, (count - 1) / 2);
    double sum = 0, weight = 0;
    for (int64_t i = 0; i < voxels; ++i)
      if (mask[i]) sum += double(phi[i]) * double(share[i]), weight += double(share[i]);
    return sum / std::max(weight, 1e-6);
  }
};

}  // namespace

int64_t guess_contrast_workspace(Shape shape, int threads) {
  return Scratch(nullptr, shape, threads).bytes;
}

LooksLike guess_contrast(const float* x, const float* phi, const float* p, const float* fluid,
                         const uint8_t* mask, const ContrastSettings& settings, Shape shape,
                         void* workspace, int threads) {
  const Scratch scratch(workspace, shape, threads);
  const int64_t voxels = shape.voxels();
  const Chooser chooser{scratch, mask, settings, voxels, threads};
  const double grey = chooser.median(phi, p + voxels), white = chooser.median(phi, p + 2 * voxels);
  checkpoint();
  const int64_t wet = chooser.choose(x, fluid);
  if (wet >= settings.enough) {
    const auto rank = static_cast<int64_t>(settings.fluid_quantile * double(wet - 1));
    if (double(chooser.ranked(x, rank)) > std::max(grey, white)) return LooksLike::t2w;
  }
  return white - grey > settings.t1_share * white ? LooksLike::t1w : LooksLike::flair;
}

}  // namespace dal
