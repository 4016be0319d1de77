// The smallest box around a mask, of bytes that are 0 or not.
#pragma once
#include <algorithm>
#include <cstring>

#include "chain/shape.h"
#include "integers.h"

namespace dal {

// First and last voxel along each axis.
struct Box {
  int64_t first[3], last[3];
  DAL_EVERYWHERE bool empty() const { return last[0] < first[0]; }
  DAL_EVERYWHERE int64_t side(int axis) const { return last[axis] - first[axis] + 1; }
  // Grows to hold the voxels from `begin` to `end` of a row.
  DAL_EVERYWHERE void hold(int64_t d, int64_t h, int64_t begin, int64_t end) {
    const int64_t low[3] = {d, h, begin}, high[3] = {d, h, end};
    for (int a = 0; a < 3; ++a) {
      first[a] = std::min(first[a], low[a]);
      last[a] = std::max(last[a], high[a]);
    }
  }
};
DAL_EVERYWHERE Box empty_box(Shape s) { return {{s.depth, s.height, s.width}, {-1, -1, -1}}; }

// First and last voxel of a row that is not 0; first == n where there is none.
struct RowEnds {
  int64_t first, last;
};
DAL_EVERYWHERE RowEnds ends_of_row(const uint8_t* row, int64_t n) {
  const auto nothing_in_eight = [](const uint8_t* from) {
    uint64_t word;
    std::memcpy(&word, from, sizeof word);
    return word == 0;
  };
  int64_t first = 0, end = n;
  while (first + 8 <= n && nothing_in_eight(row + first)) first += 8;
  while (first < n && !row[first]) ++first;
  if (first == n) return {n, -1};
  while (end - 8 > first && nothing_in_eight(row + end - 8)) end -= 8;
  while (!row[end - 1]) --end;
  return {first, end - 1};
}

DAL_EVERYWHERE Box bounding_box(const uint8_t* mask, Shape s) {
  Box box = empty_box(s);
  for (int64_t d = 0; d < s.depth; ++d)
    for (int64_t h = 0; h < s.height; ++h) {
      const RowEnds ends = ends_of_row(mask + (d * s.height + h) * s.width, s.width);
      if (ends.last >= 0) box.hold(d, h, ends.first, ends.last);
    }
  return box;
}

// Of the voxels inside a mask where x > 0.
DAL_EVERYWHERE Box bounding_box_with_signal(const float* x, const uint8_t* mask, Shape s) {
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

}  // namespace dal
