// Means and spreads of the tissues' intensities, from samples and how probable each tissue is there.
#pragma once
#include <algorithm>
#include <cmath>

#include "elementary.h"
#include "parallel.h"
#include "tissue/tissue.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int64_t kTask = 4096, kBlock = 256, kSide = 16;  // samples of a task, of a block, side by side
constexpr float kDensity = 0.4f;  // 1 / sqrt(2 pi), as the reference has it

// values: (count); prior: (tissues, stride), of which count are used.
struct TissueSamples {
  float* values;
  float* prior;
  int64_t count, stride, tissues;
};

// Room to sort, and the sums of each task.
struct FitScratch {
  uint64_t *pairs, *others;
  double* sums;  // (tasks, tissues, 3)
};

struct Moments {
  double share[kSide], first[kSide], second[kSide];
};

// Sorts by value: keys that are ordered as the values are, above the indices; 11 bits of the key a pass.
DAL_INLINE const uint64_t* sorted(const float* values, int64_t count, const FitScratch& scratch) {
  uint64_t *from = scratch.pairs, *to = scratch.others;
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = uint32_t(bits_of(values[i]));
    const uint32_t key = bits ^ (uint32_t(int32_t(bits) >> 31) | 0x80000000u);
    from[i] = uint64_t(key) << 32 | uint64_t(i);
  }
  for (int shift = 32; shift < 64; shift += 11) {
    int64_t places[2048] = {};
    for (int64_t i = 0; i < count; ++i) ++places[from[i] >> shift & 2047];
    int64_t before = 0;
    for (int64_t& place : places) {
      const int64_t many = place;
      place = before, before += many;
    }
    for (int64_t i = 0; i < count; ++i) to[places[from[i] >> shift & 2047]++] = from[i];
    std::swap(from, to);
  }
  return from;
}

// The values at which half of a tissue's weight, prior^4, is reached.
DAL_INLINE void weighted_medians(const TissueSamples& samples, const FitScratch& scratch, float* medians) {
  const uint64_t* const order = sorted(samples.values, samples.count, scratch);
  const auto sample = [&](int64_t i) { return int64_t(order[i] & 0xffffffffu); };
  for (int64_t k = 0; k < samples.tissues; ++k) {
    const float* const prior = samples.prior + k * samples.stride;
    const auto weight = [&](int64_t i) {
      const float squared = prior[sample(i)] * prior[sample(i)];
      return double(squared * squared);
    };
    double total = 0, sum = 0;
    for (int64_t i = 0; i < samples.count; ++i) total += weight(i);
    int64_t middle = 0;
    for (; middle < samples.count - 1; ++middle) {
      sum += weight(middle);
      if (sum >= 0.5 * total) break;
    }
    medians[k] = samples.values[sample(middle)];
  }
}

// Adds up what a block of samples says: of each tissue its share, and share times x and x^2.
DAL_INLINE void add_block(const TissueSamples& samples, int64_t begin, int64_t n, const float* means,
                          const float* spreads, const EvidenceSettings& settings, Moments* moments) {
  float density[kMostTissues][kBlock], total[kBlock], x[kBlock];
  std::fill_n(total, kBlock, 0.f);
  std::fill_n(x, kBlock, 0.f);
  std::copy_n(samples.values + begin, n, x);
  for (int64_t k = 0; k < samples.tissues; ++k) {
    float prior[kBlock] = {};
    std::copy_n(samples.prior + k * samples.stride + begin, n, prior);
    const float mean = means[k], spread = spreads[k];
    for (int64_t i = 0; i < kBlock; ++i) {
      const float z = (x[i] - mean) / spread;
      const float likely = prior[i] > settings.anywhere ? prior[i] : settings.anywhere;
      density[k][i] = kDensity * likely * exp_of(-0.5f * (z * z)) / spread;
    }
    std::fill_n(density[k] + n, kBlock - n, 0.f);
    for (int64_t i = 0; i < kBlock; ++i) total[i] += density[k][i];
  }
  for (int64_t i = 0; i < kBlock; ++i) total[i] += settings.outlier;
  for (int64_t k = 0; k < samples.tissues; ++k)
    for (int64_t i = 0; i < kBlock; i += kSide)
      for (int64_t j = 0; j < kSide; ++j) {
        const double share = density[k][i + j] / total[i + j], value = x[i + j];
        moments[k].share[j] += share;
        moments[k].first[j] += share * value;
        moments[k].second[j] += share * value * value;
      }
}

DAL_INLINE double added(const double* lanes) {
  double sum = 0;
  for (int64_t j = 0; j < kSide; ++j) sum += lanes[j];
  return sum;
}

// One round: `means` and `spreads` become those of the shares that they give.
inline void sharpen(const TissueSamples& samples, const EvidenceSettings& settings,
                    const FitScratch& scratch, float* means, float* spreads, int threads) {
  const int64_t tissues = samples.tissues, tasks = ceil_div(samples.count, kTask);
  parallel_for(tasks, threads, [&](int64_t task, int) {
    Moments moments[kMostTissues] = {};
    const int64_t end = std::min((task + 1) * kTask, samples.count);
    for (int64_t begin = task * kTask; begin < end; begin += kBlock)
      add_block(samples, begin, std::min(kBlock, end - begin), means, spreads, settings, moments);
    for (int64_t k = 0; k < tissues; ++k) {
      double* const to = scratch.sums + (task * tissues + k) * 3;
      to[0] = added(moments[k].share), to[1] = added(moments[k].first), to[2] = added(moments[k].second);
    }
  });
  for (int64_t k = 0; k < tissues; ++k) {
    double share = 0, first = 0, second = 0;
    for (int64_t task = 0; task < tasks; ++task) {
      const double* const from = scratch.sums + (task * tissues + k) * 3;
      share += from[0], first += from[1], second += from[2];
    }
    const double count = std::max(share, 1.0), mean = first / count;
    const double square = (second - 2 * mean * first + mean * mean * share) / count;
    means[k] = float(mean);
    spreads[k] = std::max(float(std::sqrt(std::max(square, 0.0))), settings.least_spread);
  }
}

// Of no samples, means are 0.
inline void fit_tissues(const TissueSamples& samples, const EvidenceSettings& settings,
                        const FitScratch& scratch, float* means, float* spreads, int threads) {
  std::fill_n(spreads, samples.tissues, settings.first_spread);
  std::fill_n(means, samples.tissues, 0.f);
  if (samples.count == 0) return;
  weighted_medians(samples, scratch, means);
  for (int round = 0; round < settings.rounds; ++round)
    sharpen(samples, settings, scratch, means, spreads, threads);
}

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
