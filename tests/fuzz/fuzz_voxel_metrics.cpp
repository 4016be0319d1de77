// Pages and histogram of scores, equal to the last count on every path.
#include "fuzz.h"
#include "voxel_metrics/voxel_metrics.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fuzz;
  Source s(data, size);
  const int64_t voxels = s.number(0, 5000);
  const dal::DType dtype = draw_dtype(s);
  Volume score(s, voxels, dtype, draw_style(s));
  Mask mask(s, voxels);
  Buffer target(voxels, s.number(0, 7));
  fill_mask(s, target.as<uint8_t>(), voxels);
  const int shift = static_cast<int>(s.number(4, 16));
  const int64_t segment = voxels / s.number(1, 8) + 1;  // each costs a walk through all bins
  const Bytes pages = everywhere(
      [&](int threads) {
        Buffer seen(dal::kScorePages), nans(8);
        DAL_DISPATCH(score_pages, score.data(), mask.data(), voxels, seen.as<uint8_t>(), nans.as<int64_t>(),
                     dtype, threads);
        Bytes all = seen.bytes();
        append(all, nans);
        return all;
      },
      equal);
  int64_t nans;
  std::memcpy(&nans, pages.data() + dal::kScorePages, 8);
  if (nans) return 0;  // refused before the histogram
  std::vector<int32_t> base(dal::kScorePages, 0);
  int64_t bins = 0;
  for (size_t page = 0; page < base.size(); ++page) {
    base[page] = static_cast<int32_t>(pages[page] ? bins : -1);
    if (pages[page]) bins += int64_t(1) << (16 - shift);
  }
  if (!bins || bins > 1 << 18) return 0;
  everywhere(
      [&](int threads) {
        Buffer counts(16 * bins), span(16 * bins);
        Buffer workspace(DAL_DISPATCH(score_histogram_workspace, bins, threads));
        DAL_DISPATCH(score_histogram, score.data(), target.as<uint8_t>(), mask.data(), voxels,
                     dal::ScoreBins{base.data(), shift, bins}, segment, workspace.as<void>(),
                     counts.as<int64_t>(), span.as<int64_t>(), dtype, threads);
        Bytes all = counts.bytes();
        append(all, span);
        return all;
      },
      equal);
  return 0;
}
