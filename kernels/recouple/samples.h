// The scan on every step-th voxel along each axis, and how far its clusters stand out from the tissue.
#pragma once
#include <algorithm>

#include "chain/box.h"
#include "elementary.h"
#include "recouple/polynomial.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr float kHalf = 0.5f;  // of a weight, from which a sample counts where none can be weighed

// count samples of a scan; coordinates, values and shares of each, and where it lies on the coarse grid.
struct Samples {
  float *u, *v, *w, *values, *shares;  // shares: (tissues, capacity)
  int32_t* place;
  int64_t count, capacity, tissues, step;
  Shape grid;
};

// What looking for clusters needs, over the coarse grid but for `own`, over the samples.
struct ClusterScratch {
  float *residual, *sums, *counts;  // counts: of samples among 27 voxels
  float *corrected, *certain, *own;
  void* selection;
};

DAL_INLINE Shape coarse(Shape s, int64_t step) {
  return {ceil_div(s.depth, step), ceil_div(s.height, step), ceil_div(s.width, step)};
}

// powers: of each axis, (side, kPowers).
inline void take_samples(const float* x, const float* p, const uint8_t* mask, Shape s,
                         const float* const (&powers)[3], Samples& out) {
  out.grid = coarse(s, out.step), out.count = 0;
  int32_t place = 0;
  for (int64_t d = 0; d < s.depth; d += out.step)
    for (int64_t h = 0; h < s.height; h += out.step)
      for (int64_t w = 0; w < s.width; w += out.step, ++place) {
        const int64_t at = (d * s.height + h) * s.width + w;
        if (!(mask[at] && x[at] > 0) || out.count == out.capacity) continue;
        const int64_t n = out.count++;
        out.u[n] = powers[0][kPowers * d + 1], out.v[n] = powers[1][kPowers * h + 1];
        out.w[n] = powers[2][kPowers * w + 1];
        out.values[n] = x[at], out.place[n] = place;
        for (int64_t k = 0; k < out.tissues; ++k) out.shares[k * out.capacity + n] = p[k * s.voxels() + at];
      }
}

// Values of the terms at a block of samples: (kTerms, kFitBlock).
DAL_INLINE void basis_of(const float* u, const float* v, const float* w, int64_t n,
                         float (*basis)[kFitBlock]) {
  float powers[3][kPowers][kFitBlock];
  const float* const from[3] = {u, v, w};
  for (int a = 0; a < 3; ++a)
    for (int64_t i = 0; i < n; ++i) {
      const float c = from[a][i];
      powers[a][0][i] = 1.f;
      for (int power = 1; power < kPowers; ++power) powers[a][power][i] = powers[a][power - 1][i] * c;
    }
  for (int t = 0; t < kTerms; ++t) {
    const Term term = kTable.at[t];
    const float *const a = powers[0][term.i], *const b = powers[1][term.j], *const c = powers[2][term.k];
    for (int64_t i = 0; i < n; ++i) basis[t][i] = a[i] * b[i] * c[i];
  }
}

// The polynomial at every sample, limited.
inline void log_field_at(const Samples& s, const float* coefficients, float largest, float* out) {
  float basis[kTerms][kFitBlock];
  for (int64_t begin = 0; begin < s.count; begin += kFitBlock) {
    const int64_t n = std::min(kFitBlock, s.count - begin);
    float* const field = out + begin;
    basis_of(s.u + begin, s.v + begin, s.w + begin, n, basis);
    std::fill_n(field, n, 0.f);
    for (int t = 0; t < kTerms; ++t)
      for (int64_t i = 0; i < n; ++i) field[i] += coefficients[t] * basis[t][i];
    for (int64_t i = 0; i < n; ++i) {
      const float low = field[i] > -largest ? field[i] : -largest;
      field[i] = low < largest ? low : largest;
    }
  }
}

// sum_k mu_k p_k of sample i.
DAL_INLINE float mixed(const Samples& s, const float* means, int64_t i) {
  float sum = 0;
  for (int64_t k = 0; k < s.tissues; ++k) sum += means[k] * s.shares[k * s.capacity + i];
  return sum;
}

// Sums over the 27 voxels around each; `other` is scratch.
inline void add_neighbours(float* volume, Shape s, float* other) {
  const int64_t strides[3] = {1, s.width, s.height * s.width}, sides[3] = {s.width, s.height, s.depth};
  float *from = volume, *to = other;
  for (int a = 0; a < 3; ++a) {
    const int64_t stride = strides[a], line = stride * sides[a];
    for (int64_t begin = 0; begin < s.voxels(); begin += line) {
      const float* const x = from + begin;
      float* const sum = to + begin;
      for (int64_t i = 0; i < line; ++i) sum[i] = x[i];
      for (int64_t i = stride; i < line; ++i) sum[i] += x[i - stride];
      for (int64_t i = 0; i + stride < line; ++i) sum[i] += x[i + stride];
    }
    std::swap(from, to);
  }
  std::copy_n(from, s.voxels(), volume);
}

// The least value in each cube of 2 voxels a side whose first is here, 0 for one that is not all inside;
// then the greatest of the cubes that hold or touch a voxel. `other` is scratch.
inline void open_and_widen(float* volume, Shape s, float* other) {
  const int64_t strides[3] = {1, s.width, s.height * s.width}, sides[3] = {s.width, s.height, s.depth};
  float *from = volume, *to = other;
  const auto each_line = [&](int a, auto&& f) {
    const int64_t stride = strides[a], line = stride * sides[a];
    for (int64_t begin = 0; begin < s.voxels(); begin += line) f(from + begin, to + begin, stride, line);
    std::swap(from, to);
  };
  for (int a = 0; a < 3; ++a)
    each_line(a, [](const float* x, float* least, int64_t stride, int64_t line) {
      for (int64_t i = 0; i + stride < line; ++i) least[i] = std::min(x[i], x[i + stride]);
      std::fill(least + line - stride, least + line, 0.f);
    });
  for (int a = 0; a < 3; ++a)
    each_line(a, [](const float* x, float* most, int64_t stride, int64_t line) {
      for (int64_t i = 0; i < line; ++i) most[i] = x[i];
      for (int64_t i = 0; i + stride < line; ++i) most[i] = std::max(most[i], x[i + stride]);
      for (int64_t i = stride; i < line; ++i) most[i] = std::max(most[i], x[i - stride]);
      for (int64_t i = 2 * stride; i < line; ++i) most[i] = std::max(most[i], x[i - 2 * stride]);
    });
}

// How many samples there are among the 27 voxels around each, into c.counts.
inline void count_neighbours(const Samples& s, const ClusterScratch& c) {
  std::fill_n(c.counts, s.grid.voxels(), 0.f);
  for (int64_t i = 0; i < s.count; ++i) c.counts[s.place[i]] = 1.f;
  add_neighbours(c.counts, s.grid, c.sums);
}

// log of what this field leaves of each sample against its tissues, fluid aside, into c.residual.
inline void lay_residuals(const Samples& s, const float* log_field, const uint8_t* kept,
                          const RecoupleSettings& settings, const ClusterScratch& c) {
  float means[kMostRecoupled];
  for (int64_t i = 0; i < s.count; ++i) c.corrected[i] = s.values[i] * exp_of(-log_field[i]);
  robust_means(c.corrected, s.shares, s.capacity, s.tissues, s.count, kept, settings, c.certain, c.own,
               c.selection, means);
  std::fill_n(c.residual, s.grid.voxels(), 0.f);
  for (int64_t i = 0; i < s.count; ++i) {
    const float value = std::max(c.corrected[i], 0.02f), healthy = std::max(mixed(s, means, i), 0.05f);
    c.own[i] = log_of(value / healthy) * (1.f - s.shares[i]);
  }
  for (int64_t i = 0; i < s.count; ++i) c.residual[s.place[i]] = c.own[i];
}

// What each sample weighs: less in and beside a cluster that the tissue and this field do not explain, the
// less the further it stands out. `kept` are those that the means are taken from; it becomes those that
// weigh more than half.
inline void weigh_clusters(const Samples& s, const float* log_field, const RecoupleSettings& settings,
                           const ClusterScratch& c, float* say, uint8_t* kept) {
  lay_residuals(s, log_field, kept, settings, c);
  add_neighbours(c.residual, s.grid, c.sums);
  for (int64_t i = 0; i < s.count; ++i) {
    const float total = c.residual[s.place[i]] / 27.f, count = c.counts[s.place[i]] / 27.f;
    c.own[i] = std::abs(total / std::max(count, 0.3f));
  }
  const float sigma = std::max(kMadToSigma * median_of(c.own, s.count, c.selection, 1), 0.01f);
  const float first = settings.full_say, range = settings.no_say - first;
  float* const high = c.residual;
  std::fill_n(high, s.grid.voxels(), 0.f);
  for (int64_t i = 0; i < s.count; ++i)
    high[s.place[i]] = std::min(std::max((c.own[i] / sigma - first) / range, 0.f), 1.f);
  open_and_widen(high, s.grid, c.sums);
  const double all = sum_of(s.count, [&](int64_t i) { return double(high[s.place[i]]); });
  const float share = float(all / double(s.count)), between = settings.too_much - settings.most;
  const float credible = std::min(std::max((settings.too_much - share) / between, 0.f), 1.f);
  for (int64_t i = 0; i < s.count; ++i) {
    say[i] = 1.f - high[s.place[i]] * credible;
    kept[i] = say[i] >= kHalf;
  }
}

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
