#include "chain/contrast.h"

#include <algorithm>

#include "chain/chunks.h"
#include "checkpoint.h"
#include "selection/selection.h"

namespace dal {
namespace {

struct Scratch {
  float* values;
  uint8_t* chosen;
  char* kernel;
  int64_t bytes;

  Scratch(void* workspace, Shape shape, int threads) {
    Parts parts(workspace);
    values = parts.take<float>(shape.voxels());
    chosen = parts.take<uint8_t>(shape.voxels());
    kernel = parts.take<char>(selection_workspace(threads));
    bytes = parts.used();
  }
};

struct Chooser {
  const Scratch& s;
  const float* bias;
  const uint8_t* mask;
  const ContrastSettings& settings;
  int64_t voxels;
  int threads;

  // Values without bias, and the voxels of the mask where a tissue is certain. How many these are.
  int64_t choose(const float* image, const float* share) const {
    each(voxels, threads, [&](int64_t i) {
      s.values[i] = image[i] / std::max(bias[i], settings.least_bias);
      s.chosen[i] = share[i] > settings.certain && mask[i];
    });
    return DAL_DISPATCH(selection_counts, s.values, s.chosen, voxels, threads).inside;
  }

  float ranked(int64_t rank) const {
    return DAL_DISPATCH(selection_kth, s.values, s.chosen, voxels, rank, false, s.kernel, threads);
  }

  // The lower median of phi where a tissue is certain, else its mean weighted by the tissue's probability.
  double median(const float* phi, const float* share) const {
    const int64_t count = choose(phi, share);
    if (count >= settings.enough) return ranked((count - 1) / 2);
    double sum = 0, weight = 0;
    for (int64_t i = 0; i < voxels; ++i)
      if (mask[i]) sum += double(s.values[i]) * double(share[i]), weight += double(share[i]);
    return sum / std::max(weight, 1e-6);
  }
};

}  // namespace

int64_t guess_contrast_workspace(Shape shape, int threads) {
  return Scratch(nullptr, shape, threads).bytes;
}

LooksLike guess_contrast(const float* x, const float* phi, const float* bias, const float* p,
                         const float* fluid, const uint8_t* mask, const ContrastSettings& settings,
                         Shape shape, void* workspace, int threads) {
  const Scratch scratch(workspace, shape, threads);
  const int64_t voxels = shape.voxels();
  const Chooser chooser{scratch, bias, mask, settings, voxels, threads};
  const double grey = chooser.median(phi, p + voxels), white = chooser.median(phi, p + 2 * voxels);
  checkpoint();
  const int64_t wet = chooser.choose(x, fluid);
  if (wet >= settings.enough) {
    const auto rank = static_cast<int64_t>(settings.fluid_quantile * double(wet - 1));
    if (double(chooser.ranked(rank)) > std::max(grey, white)) return LooksLike::t2w;
  }
  return white - grey > settings.t1_share * white ? LooksLike::t1w : LooksLike::flair;
}

}  // namespace dal
