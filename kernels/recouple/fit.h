// Means and field in turn, from some thousand samples.
#pragma once
#include "recouple/samples.h"

namespace dal {
namespace DAL_ISA {
namespace {

// Arrays over the samples that a fit uses, `capacity` each; shares: (tissues, capacity), basis: (kTerms,
// ...). say: what each weighs; used: those with more than half, of which medians are taken.
struct Fit {
  float *values, *shares, *log_field, *basis, *say;
  float *corrected, *healthy, *ratio, *weight, *residual, *scratch;
  uint8_t* used;
  int64_t count, capacity;
  void* selection;
};

DAL_INLINE double ridge_of(Term term, const RecoupleSettings& settings) {
  const bool odd = term.i % 2 == 1;
  if (term.degree() >= 3) return odd ? settings.odd_high : settings.high;
  return odd ? settings.odd : 0.0;
}

// Every so manieth sample, so that there are enough.
inline void choose(const Samples& s, const float* say, const float* log_field,
                   const RecoupleSettings& settings, Fit& fit) {
  const int64_t every = std::max<int64_t>(1, s.count / settings.enough_to_fit);
  float *const u = fit.corrected, *const v = fit.healthy, *const w = fit.ratio;  // for the moment
  fit.count = 0;
  for (int64_t i = 0; i < s.count && fit.count < fit.capacity; i += every) {
    const int64_t n = fit.count++;
    fit.values[n] = s.values[i], fit.log_field[n] = log_field[i];
    fit.say[n] = say[i], fit.used[n] = say[i] >= kHalf;
    u[n] = s.u[i], v[n] = s.v[i], w[n] = s.w[i];
    for (int64_t k = 0; k < s.tissues; ++k) fit.shares[k * fit.capacity + n] = s.shares[k * s.capacity + i];
  }
  float block[kTerms][kFitBlock];
  for (int64_t begin = 0; begin < fit.count; begin += kFitBlock) {
    const int64_t n = std::min(kFitBlock, fit.count - begin);
    basis_of(u + begin, v + begin, w + begin, n, block);
    for (int t = 0; t < kTerms; ++t) std::copy_n(block[t], n, fit.basis + t * fit.capacity + begin);
  }
}

// out(i) = sum_t c_t basis_t(i)
inline void evaluate(const Fit& fit, int terms, const float* coefficients, float* out) {
  std::fill_n(out, fit.count, 0.f);
  for (int64_t begin = 0; begin < fit.count; begin += kFitBlock) {
    const int64_t end = std::min(begin + kFitBlock, fit.count);
    for (int t = 0; t < terms; ++t)
      for (int64_t i = begin; i < end; ++i) out[i] += coefficients[t] * fit.basis[t * fit.capacity + i];
  }
}

// Coefficients of fit.ratio by Tukey's biweight, from the weights fit.healthy on.
inline void solve_robustly(const Fit& fit, int terms, const double* ridge, float tukey, float* solution) {
  std::copy_n(fit.healthy, fit.count, fit.weight);
  for (int round = 0; round < 4; ++round) {
    double normal[(kTerms + 1) * kTerms] = {};
    for (int64_t begin = 0; begin < fit.count; begin += kFitBlock)
      add_normal(fit.basis, fit.capacity, terms, fit.weight, fit.ratio, begin,
                 std::min(kFitBlock, fit.count - begin), normal);
    const double total = sum_of(fit.count, [&](int64_t i) { return double(fit.weight[i]); });
    for (int t = 0; t < terms; ++t) normal[t * kTerms + t] += (ridge[t] + 1e-7) * total;
    solve(normal, terms, solution);
    if (round == 3) return;
    evaluate(fit, terms, solution, fit.residual);
    int64_t many = 0;
    for (int64_t i = 0; i < fit.count; ++i) {
      fit.residual[i] = fit.ratio[i] - fit.residual[i];
      if (fit.used[i]) fit.scratch[many++] = std::abs(fit.residual[i]);
    }
    const float spread = many ? kMadToSigma * median_of(fit.scratch, many, fit.selection, 1) : 0.f;
    const float sigma = std::max(spread, 1e-3f);
    for (int64_t i = 0; i < fit.count; ++i) {
      const float far = fit.residual[i] / (tukey * sigma), near = std::max(1.f - far * far, 0.f);
      fit.weight[i] = fit.healthy[i] * (near * near);
    }
  }
}

// log of each value against its tissues, for this field. A voxel counts for as much as its tissue is
// bright, because noise makes the logarithm of dark ones uncertain.
inline void lay_ratios(Fit& fit, int64_t tissues, const RecoupleSettings& settings) {
  float means[kMostRecoupled];
  for (int64_t i = 0; i < fit.count; ++i) fit.corrected[i] = fit.values[i] * exp_of(-fit.log_field[i]);
  robust_means(fit.corrected, fit.shares, fit.capacity, tissues, fit.count, fit.used, settings,
               fit.residual, fit.scratch, fit.selection, means);
  std::fill_n(fit.healthy, fit.count, 0.f);
  for (int64_t k = 0; k < tissues; ++k)
    for (int64_t i = 0; i < fit.count; ++i) fit.healthy[i] += means[k] * fit.shares[k * fit.capacity + i];
  const float most = settings.largest_ratio;
  for (int64_t i = 0; i < fit.count; ++i) {
    const float ratio = log_of(fit.values[i] / std::max(fit.healthy[i], 1e-3f));
    fit.ratio[i] = std::min(std::max(ratio, -most), most);
    fit.healthy[i] *= fit.say[i];
  }
}

// Mean of f(i) over the samples that are used. Not inlined: in the round of a fit, GCC 12 with AVX2 gave
// other digits than everywhere else.
template <class F>
__attribute__((noinline)) double mean_of(const Fit& fit, F&& f) {
  const double many = sum_of(fit.count, [&](int64_t i) { return double(fit.used[i]); });
  const double sum = sum_of(fit.count, [&](int64_t i) { return fit.used[i] ? f(i) : 0.0; });
  return sum / std::max(many, 1.0);
}

// Coefficients (kTerms), those beyond `terms` being 0. Means and field are found in turn, from log_field
// on.
inline void fit_field(const Samples& s, const float* say, const float* log_field, int terms,
                      const RecoupleSettings& settings, Fit& fit, float* coefficients) {
  choose(s, say, log_field, settings, fit);
  double ridge[kTerms];
  std::fill_n(coefficients, kTerms, 0.f);
  for (int round = 0; round < settings.rounds; ++round) {
    const double centre = mean_of(fit, [&](int64_t i) { return double(fit.log_field[i]); });
    const double square = mean_of(fit, [&](int64_t i) {
      const double off = fit.log_field[i] - centre;
      return off * off;
    });
    const double ease = 1 + square / (settings.strong * settings.strong);
    for (int t = 0; t < terms; ++t) ridge[t] = ridge_of(kTable.at[t], settings) / ease;
    lay_ratios(fit, s.tissues, settings);
    solve_robustly(fit, terms, ridge, settings.tukey, coefficients);
    if (round + 1 == settings.rounds) return;
    evaluate(fit, terms, coefficients, fit.log_field);
    for (int64_t i = 0; i < fit.count; ++i)
      fit.log_field[i] = std::min(std::max(fit.log_field[i], -settings.largest), settings.largest);
    const auto mean = float(mean_of(fit, [&](int64_t i) { return double(fit.log_field[i]); }));
    for (int64_t i = 0; i < fit.count; ++i) fit.log_field[i] -= mean;
  }
}

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
