// Positions of positive values, sorted by falling value; equal values stay in raster order.
#pragma once
#include <cstdint>

#include "parallel.h"
#include "simd.h"

namespace dal {
namespace DAL_ISA {

constexpr int kDigitBits = 11;
constexpr int64_t kDigits = int64_t(1) << kDigitBits;

// A value as a key that rises where values fall, and where it stands in the padded volume.
template <class T>
struct Ranked {
  using Key = typename std::conditional<sizeof(T) == 4, uint32_t, uint64_t>::type;
  Key key;
  uint32_t position;

  Ranked(T value, uint32_t where) : position(where) {
    __builtin_memcpy(&key, &value, sizeof(key));
    key = ~key;
  }
  T value() const {
    const Key bits = ~key;
    T v;
    __builtin_memcpy(&v, &bits, sizeof(v));
    return v;
  }
};

// Sorts items[0, n) by key, stably; `spare` has as much room, `counts` kDigits for every thread. The result
// lies in items.
template <class T>
void sort_descending(Ranked<T>*& items, Ranked<T>*& spare, int64_t n, int64_t* counts, int threads) {
  using Key = typename Ranked<T>::Key;
  const int64_t parts = n < (1 << 14) ? 1 : threads;
  const auto begin = [&](int64_t part) { return n * part / parts; };
  for (int shift = 0; shift < int(8 * sizeof(Key)); shift += kDigitBits) {
    const auto digit = [shift](const Ranked<T>& item) {
      return int64_t(item.key >> shift) & (kDigits - 1);
    };
    parallel_for(parts, threads, [&](int64_t part, int) {
      int64_t* const count = counts + part * kDigits;
      for (int64_t d = 0; d < kDigits; ++d) count[d] = 0;
      for (int64_t i = begin(part); i < begin(part + 1); ++i) ++count[digit(items[i])];
    });
    int64_t before = 0;
    for (int64_t d = 0; d < kDigits; ++d)
      for (int64_t part = 0; part < parts; ++part) {
        const int64_t own = counts[part * kDigits + d];
        counts[part * kDigits + d] = before;
        before += own;
      }
    parallel_for(parts, threads, [&](int64_t part, int) {
      int64_t* const next = counts + part * kDigits;
      for (int64_t i = begin(part); i < begin(part + 1); ++i) spare[next[digit(items[i])]++] = items[i];
    });
    Ranked<T>* const sorted = spare;
    spare = items;
    items = sorted;
  }
}

}  // namespace DAL_ISA
}  // namespace dal
