// The positive voxels of a volume as bits, and their numbers in raster order.
//
// Everything that is kept for a voxel is kept by its number, so that a volume that is positive in a sixth
// of its voxels takes a sixth of the memory.
#pragma once
#include <algorithm>
#include <cstdint>

#include "bits.h"
#include "parallel.h"

namespace dal {
namespace DAL_ISA {

constexpr int64_t kWord = 64;  // voxels of a word
constexpr int64_t kWords = 1 << 9;  // that a thread packs at a time

// Voxels 64 k to 64 k + 63 of the volume, rows and planes running on.
struct Word {
  uint64_t bits;  // which are positive
  uint64_t before;  // positive voxels of the volume before them
};

DAL_INLINE int64_t words_of(int64_t voxels) { return ceil_div(voxels, kWord); }

// The number of a positive voxel.
DAL_INLINE uint32_t number_of(const Word* words, int64_t voxel) {
  const Word word = words[voxel / kWord];
  const uint64_t below = word.bits & ((uint64_t(1) << (voxel % kWord)) - 1);
  return uint32_t(word.before) + uint32_t(__builtin_popcountll(below));
}

// Positive voxels before `voxel`, which may be the volume's end.
DAL_INLINE int64_t positive_before(const Word* words, int64_t voxel) { return number_of(words, voxel); }

// Bit i: is voxel i of these n <= 64 positive, and in the mask?
template <class T>
DAL_INLINE uint64_t pack_positive(const T* x, const uint8_t* mask, int64_t n) {
  uint8_t inside[kWord] = {};
  if (mask)
    for (int64_t i = 0; i < n; ++i) inside[i] = (to_arithmetic(x[i]) > 0) & (mask[i] != 0);
  else
    for (int64_t i = 0; i < n; ++i) inside[i] = to_arithmetic(x[i]) > 0;
  return pack_64(inside);
}

// Fills the words of a volume, and one behind them, which is empty; returns how many voxels are positive.
// counts: one for every kWords words.
template <class T>
int64_t number_positive(const T* x, const uint8_t* mask, int64_t voxels, Word* words, int64_t* counts,
                        int threads) {
  const int64_t all = words_of(voxels), parts = ceil_div(all, kWords);
  parallel_for(parts, threads, [&](int64_t part, int) {
    int64_t count = 0;
    for (int64_t k = part * kWords; k < std::min(all, (part + 1) * kWords); ++k) {
      const int64_t at = k * kWord;
      const uint8_t* const inside = mask ? mask + at : nullptr;
      words[k].bits = at + kWord <= voxels ? pack_positive(x + at, inside, kWord)
                                           : pack_positive(x + at, inside, voxels - at);
      words[k].before = uint64_t(count);
      count += __builtin_popcountll(words[k].bits);
    }
    counts[part] = count;
  });
  int64_t before = 0;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t own = counts[part];
    counts[part] = before;
    before += own;
  }
  parallel_for(parts, threads, [&](int64_t part, int) {
    for (int64_t k = part * kWords; k < std::min(all, (part + 1) * kWords); ++k)
      words[k].before += uint64_t(counts[part]);
  });
  words[all] = {0, uint64_t(before)};
  return before;
}

// values[0, ...) where bits are set, in their order, else 0; values are read a vector beyond the last one.
template <class T>
DAL_INLINE void expand(uint64_t bits, const T* values, int64_t count, T* out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t positive = bits >> i & 1;
    out[i] = positive ? *values : T(0);
    values += positive;
  }
}
#if defined(__AVX512F__)
DAL_INLINE void expand(uint64_t bits, const float* values, int64_t count, float* out) {
  for (int64_t i = 0; i < count; i += 16) {
    const auto now = __mmask16(bits >> i);
    const __m512 placed = _mm512_maskz_expand_ps(now, _mm512_loadu_ps(values));
    if (count - i >= 16)
      _mm512_storeu_ps(out + i, placed);
    else
      _mm512_mask_storeu_ps(out + i, __mmask16((1u << (count - i)) - 1), placed);
    values += __builtin_popcount(now);
  }
}
#elif defined(__AVX2__)
// Three bits a lane: which of eight values goes there.
DAL_INLINE __m256i places(uint32_t bits) {
  // each bit to a byte of its own, then how many lie below it
  const uint64_t bytes = _pdep_u64(bits, 0x0101010101010101);
  return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(int64_t(bytes * 0x0101010101010101 - bytes)));
}
DAL_INLINE void expand(uint64_t bits, const float* values, int64_t count, float* out) {
  const __m256i lane_bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  for (int64_t i = 0; i < count; i += 8) {
    const uint32_t now = uint32_t(bits >> i) & 255;
    const __m256 from = _mm256_permutevar8x32_ps(_mm256_loadu_ps(values), places(now));
    const __m256i set =
        _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(int(now)), lane_bits), lane_bits);
    const __m256 placed = _mm256_and_ps(from, _mm256_castsi256_ps(set));
    if (count - i >= 8)
      _mm256_storeu_ps(out + i, placed);
    else
      __builtin_memcpy(out + i, &placed, sizeof(float) * size_t(count - i));
    values += __builtin_popcount(now);
  }
}
#endif

constexpr int64_t kBeyond = 16;  // elements beyond the values that spread() may read

// Writes the values of the positive voxels, which lie in the order of their numbers, to their places, and 0
// elsewhere.
template <class T>
void spread(const arithmetic_t<T>* values, const Word* words, int64_t voxels, T* out, int threads) {
  const int64_t all = words_of(voxels);
  parallel_for(ceil_div(all, kWords), threads, [&](int64_t part, int) {
    for (int64_t k = part * kWords; k < std::min(all, (part + 1) * kWords); ++k) {
      const int64_t at = k * kWord, count = std::min(kWord, voxels - at);
      if (!words[k].bits) {
        std::fill_n(reinterpret_cast<uint8_t*>(out + at), size_t(count) * sizeof(T), uint8_t(0));
      } else if constexpr (std::is_same<T, arithmetic_t<T>>::value) {
        expand(words[k].bits, values + words[k].before, count, out + at);
      } else {
        arithmetic_t<T> row[kWord];
        expand(words[k].bits, values + words[k].before, count, row);
        store_row(row, count, out + at);
      }
    }
  });
}

}  // namespace DAL_ISA
}  // namespace dal
