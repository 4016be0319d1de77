// Where the rows of the image come from: a volume, or tissue logits whose argmax picks a grey level.
#pragma once
#include <algorithm>
#include <cstdint>

#include "simd.h"

namespace dal {
namespace DAL_ISA {
namespace {

// values[i] becomes m A and weights[i] becomes m, 1 inside the mask and 0 outside.
template <class A>
void apply_mask(const uint8_t* mask, int64_t n, A* values, A* weights) {
  for (int64_t i = 0; i < n; ++i) {
    values[i] = mask[i] ? values[i] : A(0);
    weights[i] = mask[i] ? A(1) : A(0);
  }
}

// One volume of stored type S.
template <class S>
struct VolumeRows {
  const S* volume;

  // n values from voxel `first` on.
  void load(int64_t first, int64_t n, arithmetic_t<S>* out) const { load_row(volume + first, n, out); }
};

// Logits (classes, voxels): level of the highest class, ties to the lowest; a NaN never wins against an
// earlier class.
template <class S>
struct LevelRows {
  const S* logits;
  const double* levels;
  int64_t classes, voxels;

  void load(int64_t first, int64_t n, arithmetic_t<S>* out) const {
    using A = arithmetic_t<S>;
    constexpr int64_t kChunk = 256;
    A top[kChunk], row[kChunk];
    for (int64_t at = 0; at < n; at += kChunk) {
      const int64_t count = std::min(kChunk, n - at);
      A* level = out + at;
      load_row(logits + first + at, count, top);
      std::fill(level, level + count, A(levels[0]));
      for (int64_t k = 1; k < classes; ++k) {
        load_row(logits + k * voxels + first + at, count, row);
        const A mine = A(levels[k]);
        for (int64_t i = 0; i < count; ++i) {
          const bool higher = row[i] > top[i];
          top[i] = higher ? row[i] : top[i];
          level[i] = higher ? mine : level[i];
        }
      }
    }
  }
};

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
