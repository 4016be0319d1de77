// One axis after the other, a plane of the result a task: a row of the maximum over three planes is made
// once and kept while the three rows that need it are written; the last axis is taken on the way to memory.
#include <algorithm>

#include "nearby/nearby.h"
#include "parallel.h"
#include "simd.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int64_t kBorder = 16;  // floats before and after a row, which hold nothing

int64_t row_floats(Shape shape) { return ceil_div(shape.width, 16) * 16 + 2 * kBorder; }

// The greater of what there is and a masked row.
DAL_INLINE void raise(const float* x, const uint8_t* mask, float sign, int64_t n, float* highest) {
  for (int64_t i = 0; i < n; ++i) {
    const float value = mask[i] ? sign * x[i] : kNothingNearby;
    highest[i] = value > highest[i] ? value : highest[i];
  }
}

// A row of the greatest values over planes d - 1 to d + 1.
void across_planes(const float* x, const uint8_t* mask, float sign, Shape s, int64_t d, int64_t h,
                   float* row) {
  std::fill_n(row, s.width, kNothingNearby);
  for (int64_t plane = std::max<int64_t>(0, d - 1); plane <= std::min(d + 1, s.depth - 1); ++plane) {
    const int64_t at = (plane * s.height + h) * s.width;
    raise(x + at, mask + at, sign, s.width, row);
  }
}

DAL_INLINE void write_row(const float* a, const float* b, const float* c, int64_t n, float* middle,
                          float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const float two = a[i] > b[i] ? a[i] : b[i];
    middle[i] = two > c[i] ? two : c[i];
  }
  for (int64_t i = 0; i < n; ++i) {
    const float two = middle[i - 1] > middle[i + 1] ? middle[i - 1] : middle[i + 1];
    out[i] = two > middle[i] ? two : middle[i];
  }
}

}  // namespace

int64_t highest_nearby_workspace(Shape shape, int threads) {
  return int64_t(sizeof(float)) * 4 * row_floats(shape) * threads;
}

void highest_nearby(const float* x, const uint8_t* mask, float sign, float* out, Shape s, void* workspace,
                    int threads) {
  const int64_t length = row_floats(s);
  parallel_for(s.depth, threads, [&](int64_t d, int slot) {
    float* const scratch = static_cast<float*>(workspace) + slot * 4 * length;
    std::fill_n(scratch, 4 * length, kNothingNearby);
    float *before = scratch + kBorder, *here = before + length, *after = here + length;
    float* const middle = after + length;
    across_planes(x, mask, sign, s, d, 0, here);
    for (int64_t h = 0; h < s.height; ++h) {
      if (h + 1 < s.height)
        across_planes(x, mask, sign, s, d, h + 1, after);
      else
        std::fill_n(after, s.width, kNothingNearby);
      write_row(before, here, after, s.width, middle, out + (d * s.height + h) * s.width);
      float* const oldest = before;
      before = here, here = after, after = oldest;
    }
  });
}

}  // namespace DAL_ISA
}  // namespace dal
