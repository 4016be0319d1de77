#include "chain/normalise.h"

#include <algorithm>
#include <limits>

#include "chain/chunks.h"
#include "selection/selection.h"

namespace dal {

int64_t normalise_workspace(int threads) { return selection_workspace(threads); }

Normalised normalise(const float* scan, const uint8_t* mask, const NormaliseSettings& settings,
                     float* image, uint8_t* view, Shape shape, void* workspace, int threads) {
  const int64_t voxels = shape.voxels();
  const SelectionCounts counts = DAL_DISPATCH(selection_counts, scan, mask, voxels, threads);
  const auto ranked = [&](int64_t rank, bool positive) {
    return double(DAL_DISPATCH(selection_kth, scan, mask, voxels, rank, positive, workspace, threads));
  };
  const bool standardised = double(counts.negative) > settings.standardised_share * double(counts.inside);
  const int64_t signal = standardised ? counts.inside : counts.positive;
  if (signal == 0) return {Signal::none, 1, 0, 0};
  const double offset = standardised ? ranked(counts.inside / 1000, false) : 0;
  const double median = ranked((signal - 1) / 2, !standardised) - offset;
  if (!(median > 0)) return {Signal::half_is_none, 1, offset, median};
  if (median < double(std::numeric_limits<float>::min())) return {Signal::too_small, 1, offset, median};
  const double scale = settings.level / median;
  const float factor = static_cast<float>(scale), zero = static_cast<float>(offset);
  each(voxels, threads, [&](int64_t i) {
    const bool inside = mask[i] && (standardised || scan[i] > 0);
    const float value = std::min(std::max((scan[i] - zero) * factor, 0.f), settings.widest);
    view[i] = inside;
    image[i] = inside ? value : 0.f;
  });
  return {Signal::there, scale, offset, median};
}

}  // namespace dal
