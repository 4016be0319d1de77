#include "chain/anomaly.h"

#include <algorithm>
#include <cmath>

#include "boxmean/boxmean.h"
#include "chain/topmean.h"
#include "checkpoint.h"

namespace dal {
namespace {

struct Scratch {
  float *structure, *bright, *dark, *top;
  char* stage;
  int64_t bytes;

  Scratch(void* workspace, Shape shape, const EnhanceSettings& settings, int threads) {
    const int64_t voxels = shape.voxels();
    Parts parts(workspace);
    structure = parts.take<float>(voxels);
    bright = parts.take<float>(voxels);
    dark = parts.take<float>(voxels);
    top = reinterpret_cast<float*>(parts.take<char>(top_mean_workspace(voxels)));
    stage = parts.take<char>(std::max({structural_difference_workspace(shape, settings, threads),
                                       enhanced_workspace(shape, settings, threads),
                                       DAL_DISPATCH(box_mean_workspace, shape, 1, threads),
                                       DAL_DISPATCH(box_mean_workspace, shape, 9, threads)}));
    bytes = parts.used();
  }
};

// The root mean square of a map that is 0 outside the mask.
double root_mean_square(const float* map, const uint8_t* mask, int64_t voxels) {
  double total = 0;
  int64_t inside = 0;
  for (int64_t i = 0; i < voxels; ++i) {
    total += double(map[i]) * double(map[i]);
    inside += mask[i] != 0;
  }
  return std::sqrt(total / double(std::max<int64_t>(1, inside)));
}

// How far the peak of a map, log E - share log R, is above those of healthy scans, in their standard
// deviations. E: mean of the highest values; R: root mean square.
double outstanding(const float* map, const uint8_t* mask, const SignCalibration& healthy, int64_t voxels,
                   void* workspace, const WeighingSettings& w) {
  const double highest = top_mean(map, mask, voxels, workspace, w.peak_share);
  const double common = root_mean_square(map, mask, voxels);
  const double peak =
      std::log(std::max(highest, w.least_peak)) - w.common_share * std::log(std::max(common, w.least_peak));
  return (peak - healthy.peak) / std::max(healthy.peak_sd, w.least_sd);
}

SignsWeighed weigh(double bright, double dark, bool usually_dark, double benefit) {
  const double usual = usually_dark ? dark : bright, other = usually_dark ? bright : dark;
  const double doubt = benefit + usual - other;
  const double usual_weight = std::exp(std::min(0.0, doubt / 2));
  const double other_weight = std::exp(std::min(0.0, -doubt / 2));
  const bool shows_dark = usually_dark == (usual_weight >= other_weight);
  if (usually_dark) return {other_weight, usual_weight, shows_dark ? -1 : 1};
  return {usual_weight, other_weight, shows_dark ? -1 : 1};
}

}  // namespace

int64_t anomaly_map_workspace(Shape shape, const EnhanceSettings& settings, int threads) {
  return Scratch(nullptr, shape, settings, threads).bytes;
}

SignsWeighed anomaly_map(const Compared& scan, const float* evidence, const Calibrated& healthy,
                         const EnhanceSettings& settings, const WeighingSettings& weighing, float* out,
                         Shape shape, void* workspace, int threads) {
  const Scratch s(workspace, shape, settings, threads);
  const int64_t voxels = shape.voxels();
  structural_difference(scan.x, scan.phi, scan.fluid, scan.mask, settings, s.structure, shape, s.stage,
                        threads);
  checkpoint();
  DAL_DISPATCH(in_units, s.structure, float(healthy.structure), voxels, threads);
  const auto score = [&](float sign, const SignCalibration& of, float* to) {
    enhanced(scan, s.structure, evidence, {sign, healthy.smoothed, float(of.threshold), of.usual}, settings,
             to, shape, s.stage, threads);
    checkpoint();
    return outstanding(to, scan.mask, of, voxels, s.top, weighing);
  };
  const double bright = score(1, healthy.bright, s.bright), dark = score(-1, healthy.dark, s.dark);
  if (healthy.usual_structure)
    DAL_DISPATCH(structural_excess, s.structure, healthy.usual_structure, float(healthy.structure), voxels,
                 threads);
  const SignsWeighed signs = weigh(bright, dark, healthy.usually_dark, healthy.benefit);
  DAL_DISPATCH(combine_signs, s.bright, s.dark, s.structure,
               {float(signs.bright), float(signs.dark), float(healthy.structure_share)}, s.bright, voxels,
               threads);
  DAL_DISPATCH(box_mean, s.bright, 1, out, shape, s.stage, threads);
  DAL_DISPATCH(box_mean, out, 3, s.dark, shape, s.stage, threads);
  DAL_DISPATCH(box_mean, s.dark, 9, out, shape, s.stage, threads);
  DAL_DISPATCH(with_surroundings, s.bright, s.dark, out, float(healthy.combined), scan.mask, out, voxels,
               threads);
  return signs;
}

}  // namespace dal
