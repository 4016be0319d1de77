// Robust statistics of samples: medians without sorting, and means of a tissue's certain voxels.
#pragma once
#include <algorithm>
#include <cmath>

#include "recouple/recouple.h"
#include "selection/selection.h"
#include "simd.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int64_t kSide = 16;  // sums side by side, so that they are the same on every instruction set
constexpr int64_t kFewCertain = 20;
constexpr float kMadToSigma = 1.4826f;

// The lower of the two in the middle of n > 0 values.
DAL_INLINE float median_of(const float* values, int64_t n, void* selection, int threads) {
  return selection_kth(values, nullptr, n, (n - 1) / 2, false, selection, threads);
}

// sum of f(i) for i in [0, n), in double.
template <class F>
DAL_INLINE double sum_of(int64_t n, F&& f) {
  double lanes[kSide] = {};
  int64_t i = 0;
  for (; i + kSide <= n; i += kSide)
    for (int64_t j = 0; j < kSide; ++j) lanes[j] += f(i + j);
  for (int64_t j = 0; i + j < n; ++j) lanes[j] += f(i + j);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

// The mean of n > 0 values without those far from the median; `distance` is scratch for n.
inline float mean_near_median(const float* values, int64_t n, float keep, float* distance, void* selection,
                              int threads) {
  const float centre = median_of(values, n, selection, threads);
  for (int64_t i = 0; i < n; ++i) distance[i] = std::abs(values[i] - centre);
  const float limit = keep * median_of(distance, n, selection, threads);
  int64_t lanes[kSide] = {};
  double sums[kSide] = {};
  for (int64_t i = 0; i < n; ++i) {
    const bool near = distance[i] <= limit;
    lanes[i % kSide] += near;
    sums[i % kSide] += near ? double(values[i]) : 0.0;
  }
  int64_t count = 0;
  double sum = 0;
  for (int64_t j = 0; j < kSide; ++j) count += lanes[j], sum += sums[j];
  return float(sum / double(count));
}

// The mean of each tissue over n samples: of its certain ones, or weighted by its probability where there
// are few. shares: (tissues, stride); certain, distance: scratch for n; used: which samples count, or null.
inline void robust_means(const float* values, const float* shares, int64_t stride, int64_t tissues,
                         int64_t n, const uint8_t* used, const RecoupleSettings& settings, float* certain,
                         float* distance, void* selection, float* means) {
  for (int64_t k = 0; k < tissues; ++k) {
    const float* const share = shares + k * stride;
    int64_t many = 0;
    for (int64_t i = 0; i < n; ++i)
      if ((share[i] > settings.certain) & (!used || used[i])) certain[many++] = values[i];
    if (many < kFewCertain) {
      const auto weight = [&](int64_t i) { return !used || used[i] ? double(share[i]) : 0.0; };
      const double all = sum_of(n, weight);
      const double sum = sum_of(n, [&](int64_t i) { return weight(i) * values[i]; });
      means[k] = float(sum / std::max(all, 1e-6));
    } else {
      means[k] = mean_near_median(certain, many, settings.keep, distance, selection, 1);
    }
  }
}

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
