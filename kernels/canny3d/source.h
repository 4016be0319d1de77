// Where the rows of the image come from: a volume, or tissue logits whose argmax picks a grey level.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "simd.h"

namespace dal {
namespace DAL_ISA {
namespace {

// A source's take(first, n, buffer) says where the n values from voxel `first` on lie: in `buffer`, or in
// place. prefetch(first, n) announces that.

// values[i] becomes m A and weights[i] becomes m, 1 inside the mask and 0 outside.
template <class A>
void apply_mask(const uint8_t* mask, int64_t n, A* values, A* weights) {
  for (int64_t i = 0; i < n; ++i) {
    values[i] = mask[i] ? values[i] : A(0);
    weights[i] = mask[i] ? A(1) : A(0);
  }
}

// True if a row of n values, n a multiple of the vector, holds nothing but zeros.
template <class A>
DAL_INLINE bool is_zero(const A* row, int64_t n) {
  for (int64_t x = 0; x < n; x += lanes<A>) {
    const mask<A> differs = load(row + x) != 0;
    for (int i = 0; i < lanes<A>; ++i)
      if (differs[i]) return false;
  }
  return true;
}

// Asks for n stored values ahead of their use: the rows of a tile in two planes lie far apart.
template <class S>
DAL_INLINE void prefetch_row(const S* row, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / int64_t(sizeof(S))) __builtin_prefetch(row + i);
}

// One volume of stored type S. in_place: rows need neither conversion nor padding nor a mask.
template <class S>
struct VolumeRows {
  const S* volume;
  bool in_place;

  void prefetch(int64_t first, int64_t n) const { prefetch_row(volume + first, n); }
  const arithmetic_t<S>* take(int64_t first, int64_t n, arithmetic_t<S>* buffer) const {
    if constexpr (std::is_same<S, arithmetic_t<S>>::value)
      if (in_place) return volume + first;
    load_row(volume + first, n, buffer);
    return buffer;
  }
};

// Logits (classes, voxels): level of the highest class, ties to the lowest; a NaN never wins against an
// earlier class.
template <class S>
struct LevelRows {
  const S* logits;
  const double* levels;
  int64_t classes, voxels;

  void prefetch(int64_t first, int64_t n) const {
    for (int64_t k = 0; k < classes; ++k) prefetch_row(logits + k * voxels + first, n);
  }
  const arithmetic_t<S>* take(int64_t first, int64_t n, arithmetic_t<S>* buffer) const {
    using A = arithmetic_t<S>;
    constexpr int64_t kChunk = 256;
    A top[kChunk], row[kChunk];
    for (int64_t at = 0; at < n; at += kChunk) {
      const int64_t count = std::min(kChunk, n - at);
      A* level = buffer + at;
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
    return buffer;
  }
};

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
