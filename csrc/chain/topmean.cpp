#include "chain/topmean.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace dal {
namespace {

constexpr int64_t kBlock = 32;  // values looked at together

int64_t top_of(int64_t voxels, double share) { return int64_t(std::ceil(share * double(voxels))); }

}  // namespace

int64_t top_mean_workspace(int64_t voxels, double share) {
  return 2 * std::max<int64_t>(1, top_of(voxels, share)) * int64_t(sizeof(float));
}

double top_mean(const float* x, const uint8_t* mask, int64_t voxels, void* workspace, double share) {
  int64_t inside = 0;
  for (int64_t i = 0; i < voxels; ++i) inside += mask[i] != 0;
  if (inside == 0) return 0;
  const int64_t top = top_of(inside, share);
  // Candidates, at most twice as many as are wanted; what is not above `bound` is none.
  float* const found = static_cast<float*>(workspace);
  float bound = -std::numeric_limits<float>::infinity();
  int64_t count = 0;
  const auto keep_top = [&] {
    std::nth_element(found, found + top - 1, found + count, std::greater<float>());
    count = top;
    bound = found[top - 1];
  };
  for (int64_t begin = 0; begin < voxels; begin += kBlock) {
    const int64_t end = std::min(voxels, begin + kBlock);
    float most = -std::numeric_limits<float>::infinity();
    for (int64_t i = begin; i < end; ++i) most = x[i] > most ? x[i] : most;
    if (!(most > bound)) continue;
    for (int64_t i = begin; i < end; ++i) {
      if (!(x[i] > bound) || !mask[i]) continue;
      found[count++] = x[i];
      if (count == 2 * top) keep_top();
    }
  }
  if (count > top) keep_top();
  std::sort(found, found + count, std::greater<float>());
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += double(found[i]);
  return sum / double(top);
}

}  // namespace dal
