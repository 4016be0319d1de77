// Where tissues' means are taken from: away from a mask's border and from what is dark there.
#pragma once
#include <algorithm>
#include <utility>

#include "chain/border.h"
#include "parallel.h"
#include "recouple/recouple.h"

namespace dal {
namespace DAL_ISA {
namespace {

// One row of a layer: what is dark and not surrounded goes. `inner` rows lie between others.
DAL_INLINE void peel_row(const float* x, const uint8_t* from, Shape s, bool inner, float dark,
                         uint8_t* to) {
  const int64_t plane = s.height * s.width, last = s.width - 1;
  for (int64_t w = 0; w <= last; ++w) to[w] = from[w] & uint8_t(!(x[w] < dark));
  if (!inner) return;
  for (int64_t w = 1; w < last; ++w)
    to[w] |= from[w] & from[w - 1] & from[w + 1] & from[w - s.width] & from[w + s.width] & from[w - plane] &
             from[w + plane];
}

// The mask, as 0 and 1, without the dark voxels of its border, peeled off layer by layer; in `a` or `b`,
// both of the mask's size.
inline const uint8_t* without_dark_border(const float* x, const uint8_t* mask, Shape s,
                                          const RecoupleSettings& settings, uint8_t* a, uint8_t* b,
                                          int threads) {
  const int64_t plane = s.height * s.width;
  parallel_for(s.depth, threads, [&](int64_t d, int) {
    for (int64_t i = d * plane; i < (d + 1) * plane; ++i) a[i] = mask[i] != 0;
  });
  for (int layer = 0; layer < settings.deepest; ++layer) {
    parallel_for(s.depth, threads, [&](int64_t d, int) {
      for (int64_t h = 0; h < s.height; ++h) {
        const int64_t row = d * plane + h * s.width;
        const bool inner = d > 0 && h > 0 && d + 1 < s.depth && h + 1 < s.height;
        peel_row(x + row, a + row, s, inner, settings.dark, b + row);
      }
    });
    std::swap(a, b);
  }
  return a;
}

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
