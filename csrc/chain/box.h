// The smallest box around a mask. Include only from kernels/<op>/<op>_cpu.cpp, as simd.h.
#pragma once
#include <algorithm>

#include "bits.h"
#include "chain/shape.h"

namespace dal {
namespace DAL_ISA {

// First and last voxel along each axis.
struct Box {
  int64_t first[3], last[3];
  DAL_INLINE bool empty() const { return last[0] < first[0]; }
  DAL_INLINE int64_t side(int axis) const { return last[axis] - first[axis] + 1; }
  // Grows to hold the voxels from `begin` to `end` of a row.
  DAL_INLINE void hold(int64_t d, int64_t h, int64_t begin, int64_t end) {
    const int64_t low[3] = {d, h, begin}, high[3] = {d, h, end};
    for (int a = 0; a < 3; ++a) {
      first[a] = std::min(first[a], low[a]);
      last[a] = std::max(last[a], high[a]);
    }
  }
};
DAL_INLINE Box empty_box(Shape s) { return {{s.depth, s.height, s.width}, {-1, -1, -1}}; }

// First and last voxel of a row that is not 0; first == n where there is none.
struct RowEnds {
  int64_t first, last;
};
DAL_INLINE RowEnds ends_of_row(const uint8_t* row, int64_t n) {
  RowEnds ends{n, -1};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64)
    if (const uint64_t word = pack_64(row + i)) {
      ends.first = std::min(ends.first, i + __builtin_ctzll(word));
      ends.last = i + 63 - __builtin_clzll(word);
    }
  for (; i < n; ++i)
    if (row[i]) {
      ends.first = std::min(ends.first, i);
      ends.last = i;
    }
  return ends;
}

DAL_INLINE Box bounding_box(const uint8_t* mask, Shape s) {
  Box box = empty_box(s);
  for (int64_t d = 0; d < s.depth; ++d)
    for (int64_t h = 0; h < s.height; ++h) {
      const RowEnds ends = ends_of_row(mask + (d * s.height + h) * s.width, s.width);
      if (ends.last >= 0) box.hold(d, h, ends.first, ends.last);
    }
  return box;
}

// Of the voxels inside a mask where x > 0.
DAL_INLINE Box bounding_box_with_signal(const float* x, const uint8_t* mask, Shape s) {
  Box box = empty_box(s);
  for (int64_t d = 0; d < s.depth; ++d)
    for (int64_t h = 0; h < s.height; ++h) {
      const int64_t row = (d * s.height + h) * s.width;
      RowEnds ends = ends_of_row(mask + row, s.width);
      while (ends.first <= ends.last && !(mask[row + ends.first] && x[row + ends.first] > 0)) ++ends.first;
      while (ends.first <= ends.last && !(mask[row + ends.last] && x[row + ends.last] > 0)) --ends.last;
      if (ends.first <= ends.last) box.hold(d, h, ends.first, ends.last);
    }
  return box;
}

}  // namespace DAL_ISA
}  // namespace dal
