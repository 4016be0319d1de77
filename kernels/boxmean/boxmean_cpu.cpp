// A plane of the result is a task: the sum of three planes into scratch, of three of its rows into a row
// with zeros on both sides, of three of its voxels on the way to memory.
#include <algorithm>

#include "boxmean/boxmean.h"
#include "parallel.h"
#include "simd.h"

namespace dal {
namespace DAL_ISA {
namespace {

// A row of scratch: the voxels and `step` zeros on either side, whole cache lines.
int64_t row_floats(Shape s, int64_t step) { return ceil_div(s.width + 2 * step, 16) * 16; }
int64_t slot_floats(Shape s, int64_t step) {
  return ceil_div(s.height * s.width, 16) * 16 + row_floats(s, step);
}

DAL_INLINE void add(const float* __restrict x, int64_t n, float* __restrict to) {
  for (int64_t i = 0; i < n; ++i) to[i] += x[i];
}

// to = x at `at`, plus what lies `apart` before and after it, where there is such a thing. x holds `count`
// pieces of n values.
DAL_INLINE void three(const float* x, int64_t at, int64_t apart, int64_t count, int64_t n, float* to) {
  std::copy_n(x + at * n, n, to);
  if (at >= apart) add(x + (at - apart) * n, n, to);
  if (at + apart < count) add(x + (at + apart) * n, n, to);
}

DAL_INLINE void finish(const float* __restrict row, int64_t step, int64_t n, float* __restrict out) {
  for (int64_t i = 0; i < n; ++i) out[i] = (row[i + step] + row[i] + row[i + 2 * step]) / 27.f;
}

}  // namespace

int64_t box_mean_workspace(Shape shape, int64_t step, int threads) {
  return threads * slot_floats(shape, step) * int64_t(sizeof(float));
}

void box_mean(const float* x, int64_t step, float* out, Shape s, void* workspace, int threads) {
  const int64_t plane = s.height * s.width;
  parallel_for(s.depth, threads, [&](int64_t d, int slot) {
    float* const planes = static_cast<float*>(workspace) + slot * slot_floats(s, step);
    float* const row = planes + ceil_div(plane, 16) * 16;
    std::fill_n(row, row_floats(s, step), 0.f);
    three(x, d, step, s.depth, plane, planes);
    for (int64_t h = 0; h < s.height; ++h) {
      three(planes, h, step, s.height, s.width, row + step);
      finish(row, step, s.width, out + d * plane + h * s.width);
    }
  });
}

}  // namespace DAL_ISA
}  // namespace dal
