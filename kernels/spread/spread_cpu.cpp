// For each tissue its certain voxels' residuals are collected, each task's at the beginning of a part of
// its own, and moved together; their median is selected without sorting. Then one pass mixes the spreads.
#include <algorithm>

#include "chain/shape.h"
#include "parallel.h"
#include "selection/selection.h"
#include "simd.h"
#include "spread/spread.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int64_t kChunk = 1 << 14;  // voxels of a task
constexpr float kMadToSigma = 1.4826f;

struct Scratch {
  float* values;  // one for each voxel
  int64_t* counts;  // one for each task
  void* selection;
};

Scratch scratch_of(Parts& parts, int64_t voxels, int threads) {
  Scratch s{};
  s.values = parts.take<float>(voxels);
  s.counts = parts.take<int64_t>(ceil_div(voxels, kChunk));
  s.selection = parts.take<char>(selection_workspace(threads));
  return s;
}

// |x - phi| of the certain voxels at the beginning of s.values; how many.
int64_t collect(const float* x, const float* phi, const float* p, const uint8_t* mask, int64_t voxels,
                float certain, const Scratch& s, int threads) {
  const int64_t tasks = ceil_div(voxels, kChunk);
  parallel_for(tasks, threads, [&](int64_t task, int) {
    const int64_t begin = task * kChunk, end = std::min(begin + kChunk, voxels);
    float* to = s.values + begin;
    for (int64_t i = begin; i < end; ++i)
      if ((p[i] > certain) & (mask[i] != 0)) *to++ = std::abs(x[i] - phi[i]);
    s.counts[task] = to - (s.values + begin);
  });
  int64_t all = 0;
  for (int64_t task = 0; task < tasks; ++task) {
    std::copy_n(s.values + task * kChunk, s.counts[task], s.values + all);
    all += s.counts[task];
  }
  return all;
}

}  // namespace

int64_t usual_spread_workspace(int64_t voxels, int threads) {
  Parts parts(nullptr);
  scratch_of(parts, voxels, threads);
  return parts.used();
}

void usual_spread(const float* x, const float* phi, const float* p, const uint8_t* mask, int64_t tissues,
                  int64_t voxels, const SpreadSettings& settings, float* out, float* spreads,
                  void* workspace, int threads) {
  Parts parts(workspace);
  const Scratch s = scratch_of(parts, voxels, threads);
  for (int64_t k = 0; k < tissues; ++k) {
    const int64_t n = collect(x, phi, p + k * voxels, mask, voxels, settings.certain, s, threads);
    spreads[k] = settings.unknown;
    if (n < settings.enough) continue;
    const float median = selection_kth(s.values, nullptr, n, (n - 1) / 2, false, s.selection, threads);
    spreads[k] = std::max(kMadToSigma * median, settings.least);
  }
  parallel_for(ceil_div(voxels, kChunk), threads, [&](int64_t task, int) {
    const int64_t begin = task * kChunk, n = std::min(kChunk, voxels - begin);
    float* const sigma = out + begin;
    std::fill_n(sigma, n, 0.f);
    for (int64_t k = 0; k < tissues; ++k)
      for (int64_t i = 0; i < n; ++i) sigma[i] += p[k * voxels + begin + i] * spreads[k];
    for (int64_t i = 0; i < n; ++i) sigma[i] = mask[begin + i] ? std::max(sigma[i], settings.least) : 1.f;
  });
}

}  // namespace DAL_ISA
}  // namespace dal
