// From tissue probabilities and a scan to the pseudo-healthy image, in closed form.
//
//   phi = b sum_k p_k mu_k                       inside the mask, 0 outside
//   log b = sum_ijk c_ijk u^i v^j w^k            u, v, w from -1 to 1 across the brain, i + j + k <= 4
//
// mu_k is the robust mean of x / b in tissue k. The polynomial is fitted to log x - log sum_k p_k mu_k by
// Tukey's weights with a ridge on terms that are odd from left to right, three times over, each time
// with less weight on clusters the further they stood out; b's mean is 1 where the scan has signal.
// README.md has the derivation.
#pragma once
#include <cstdint>

#include "chain/shape.h"
#include "isa.h"

namespace dal {

// dal_fast/models/bias.py and recouple.py say what each is.
struct RecoupleSettings {
  int64_t fewest = 200, enough = 20000, plenty = 400000, enough_to_fit = 4000;
  double odd = 0.005, high = 0.003, odd_high = 0.01;
  double strong = 0.1;
  int refits = 3, rounds = 2;
  float tukey = 4.f, largest = 1.1f, largest_ratio = 1.6f;
  float full_say = 2.f, no_say = 3.f, most = 0.5f, too_much = 0.75f;
  float certain = 0.8f;
  float dark = 0.25f;  // half of the brain's median
  int deepest = 6;
  float keep = float(2.5 * 1.4826);  // median absolute deviations from a tissue's median
};

DAL_DECLARE(int64_t closed_form_workspace(Shape shape, int64_t tissues, const RecoupleSettings& settings,
                                          int threads))  // bytes

// x: scan, at or below 0 where nothing was scanned; p: (tissues, depth, height, width); mask: brain. image
// (phi) and bias (1 outside the mask): (depth, height, width); means: (tissues). At most kMostRecoupled.
constexpr int64_t kMostRecoupled = 16;
DAL_DECLARE(void closed_form(const float* x, const float* p, const uint8_t* mask, int64_t tissues,
                             Shape shape, const RecoupleSettings& settings, float* image, float* bias,
                             float* means, void* workspace, int threads))

}  // namespace dal
