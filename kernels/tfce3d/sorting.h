// Positive values, sorted by falling value; equal values stay in raster order.
#pragma once
#include <cstdint>

#include "parallel.h"
#include "simd.h"

namespace dal {
namespace DAL_ISA {

// A digit of many bits means few passes, but more counters than a small sort has items.
constexpr int kFewBits = 11, kManyBits = 16;
constexpr int64_t kMany = int64_t(1) << 18;  // items from which a sort has digits of many bits

// How many parts of n items are sorted at a time, each with a counter for every digit: more items than
// that.
constexpr int64_t sort_parts(int64_t n, int threads) {
  const int64_t most = n >> (n < kMany ? kFewBits + 2 : kManyBits + 1);
  return most < 1 ? 1 : most < threads ? most : threads;
}
constexpr int64_t sort_counters(int64_t n, int threads) {
  return sort_parts(n, threads) << (n < kMany ? kFewBits : kManyBits);
}

// A value as a key that rises where values fall, and its voxel's number (numbering.h); while saddles are
// settled, where one is found among the nodes (joining.h).
template <class T>
struct Ranked {
  using Key = typename std::conditional<sizeof(T) == 4, uint32_t, uint64_t>::type;
  Key key;
  uint32_t number;

  Ranked(T value, uint32_t number) : number(number) {
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

// The items by one digit, the `bits` from `shift` on; whether that moved them.
template <int bits, class T>
bool sort_by_digit(const Ranked<T>* items, Ranked<T>* sorted, int64_t n, int shift, uint32_t* counts,
                   int64_t parts, int threads) {
  constexpr int64_t kDigits = int64_t(1) << bits;
  const auto digit = [shift](const Ranked<T>& item) { return int64_t(item.key >> shift) & (kDigits - 1); };
  const auto begin = [&](int64_t part) { return n * part / parts; };
  parallel_for(parts, threads, [&](int64_t part, int) {
    uint32_t* const count = counts + part * kDigits;
    for (int64_t d = 0; d < kDigits; ++d) count[d] = 0;
    for (int64_t i = begin(part); i < begin(part + 1); ++i) ++count[digit(items[i])];
  });
  // The lower bits of halves, or those of a map of few values, need no pass.
  int64_t alike = 0;
  for (int64_t part = 0; part < parts; ++part) alike += counts[part * kDigits + digit(items[0])];
  if (alike == n) return false;
  uint32_t before = 0;
  for (int64_t d = 0; d < kDigits; ++d)
    for (int64_t part = 0; part < parts; ++part) {
      const uint32_t own = counts[part * kDigits + d];
      counts[part * kDigits + d] = before;
      before += own;
    }
  parallel_for(parts, threads, [&](int64_t part, int) {
    uint32_t* const next = counts + part * kDigits;
    for (int64_t i = begin(part); i < begin(part + 1); ++i) sorted[next[digit(items[i])]++] = items[i];
  });
  return true;
}

template <int bits, class T>
void sort_by_digits(Ranked<T>*& items, Ranked<T>*& spare, int64_t n, uint32_t* counts, int64_t parts,
                    int threads) {
  constexpr int key_bits = 8 * int(sizeof(items->key)) - 1;  // the sign is that of all
  for (int shift = 0; shift < key_bits; shift += bits) {
    if (!sort_by_digit<bits>(items, spare, n, shift, counts, parts, threads)) continue;
    Ranked<T>* const sorted = spare;
    spare = items;
    items = sorted;
  }
}

// Sorts items[0, n), n < 2^32, by key, stably; `spare` has as much room, `counts` as sort_counters says.
// The result lies in items.
template <class T>
void sort_descending(Ranked<T>*& items, Ranked<T>*& spare, int64_t n, uint32_t* counts, int threads) {
  const int64_t parts = sort_parts(n, threads);
  if (n == 0) return;
  if (n < kMany)
    sort_by_digits<kFewBits>(items, spare, n, counts, parts, threads);
  else
    sort_by_digits<kManyBits>(items, spare, n, counts, parts, threads);
}

}  // namespace DAL_ISA
}  // namespace dal
