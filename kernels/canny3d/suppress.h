// Non-maximum suppression and double threshold of a row, as bits.
//
// The two neighbours along the gradient lie where its line leaves the cube of side 2 around the voxel:
// v +- d, d = G / max_i |G_i|. One component of d is +-1, so the trilinear value there is the bilinear one
// on a face of the cube; with one component 0 it is linear between two voxels, the rule of 2D Canny.
#pragma once
#include <cstdint>

#include "canny3d/plan.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace dal {
namespace DAL_ISA {
namespace {

// A neighbour counts as higher when it exceeds the voxel by more than this fraction. A flat step lies
// midway between two voxels of equal magnitude; rounding must not choose between them.
constexpr double kTie = 1e-4;

// Bit i of the result: lane i of the mask.
template <class T>
DAL_INLINE uint64_t bits_of(mask<T> m) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
  if constexpr (kVectorBytes == 64) {
    if constexpr (sizeof(T) == 4) return uint64_t(_mm512_movepi32_mask((__m512i)m));
    return uint64_t(_mm512_movepi64_mask((__m512i)m));
  }
#endif
#if defined(__AVX2__)
  if constexpr (kVectorBytes == 32) {
    if constexpr (sizeof(T) == 4) return uint64_t(uint32_t(_mm256_movemask_ps((__m256)m)));
    return uint64_t(uint32_t(_mm256_movemask_pd((__m256d)m)));
  }
#elif defined(__SSE2__)
  if constexpr (kVectorBytes == 16) {
    if constexpr (sizeof(T) == 4) return uint64_t(uint32_t(_mm_movemask_ps((__m128)m)));
    return uint64_t(uint32_t(_mm_movemask_pd((__m128d)m)));
  }
#endif
  uint64_t bits = 0;
  for (int i = 0; i < lanes<T>; ++i) bits |= uint64_t(m[i] & 1) << i;
  return bits;
}

// Bit i of the result: byte i is not zero; n <= 64 bytes.
inline uint64_t bits_of_bytes(const uint8_t* bytes, int64_t n) {
  uint64_t bits = 0;
  for (int64_t i = 0; i < n; i += 8) {
    uint64_t eight = 0;
    std::memcpy(&eight, bytes + i, size_t(std::min<int64_t>(8, n - i)));
    const uint64_t low7 = 0x7f7f7f7f7f7f7f7fu;
    const uint64_t ones = ((((eight & low7) + low7) | eight) >> 7) & 0x0101010101010101u;
    bits |= (ones * 0x0102040810204080u) >> 56 << i;
  }
  return bits;
}

// The rows of magnitude around a row of voxels: m[1 + dz][1 + dy].
template <class A>
struct Neighbours {
  const A* m[3][3];
};

template <class A>
DAL_INLINE vec<A> lerp(vec<A> a, vec<A> b, vec<A> weight) {
  return a + weight * (b - a);
}

// The value at fraction u of the way to the neighbour on either side of an axis, along the gradient's
// sign and against it.
template <class A>
struct Pair {
  vec<A> ahead, behind;
};
template <class A>
DAL_INLINE Pair<A> step(Pair<A> before, Pair<A> here, Pair<A> after, mask<A> negative, vec<A> u) {
  return {lerp<A>(here.ahead, select<A>(negative, before.ahead, after.ahead), u),
          lerp<A>(here.behind, select<A>(negative, after.behind, before.behind), u)};
}

// Trilinear magnitude at x + d and at x - d: steps in x on nine rows, in y on three planes, then in z.
template <class A>
DAL_INLINE Pair<A> along_gradient(const Neighbours<A>& near, int64_t x, const mask<A> (&negative)[3],
                                  const vec<A> (&u)[3]) {
  Pair<A> plane[3];
  for (int z = 0; z < 3; ++z) {
    Pair<A> row[3];
    for (int y = 0; y < 3; ++y) {
      const A* m = near.m[z][y] + x;
      const vec<A> before = load(m - 1), here = load(m), after = load(m + 1);
      row[y] = step<A>({before, before}, {here, here}, {after, after}, negative[0], u[0]);
    }
    plane[z] = step<A>(row[0], row[1], row[2], negative[1], u[1]);
  }
  return step<A>(plane[0], plane[1], plane[2], negative[2], u[2]);
}

// Lanes whose magnitude no neighbour along the gradient exceeds. gradient: gx, gy, gz, `wide` apart.
template <class A>
DAL_INLINE mask<A> is_maximum(const Neighbours<A>& near, const A* gradient, int64_t wide, int64_t x) {
  const vec<A> gx = load(gradient + x), gy = load(gradient + wide + x), gz = load(gradient + 2 * wide + x);
  const vec<A> ax = absolute(gx), ay = absolute(gy), az = absolute(gz);
  const vec<A> inverse = A(1) / maximum<A>(maximum<A>(ax, ay), az);
  const Pair<A> neighbour =
      along_gradient<A>(near, x, {gx < 0, gy < 0, gz < 0}, {ax * inverse, ay * inverse, az * inverse});
  const vec<A> limit = load(near.m[1][1] + x) * A(1 + kTie);
  return (neighbour.ahead <= limit) & (neighbour.behind <= limit);
}

// weak and strong bits of the voxels [first, first + n) of a row, n <= 64, first a multiple of 64.
// mask: of the row, or null.
template <class A>
void suppress_word(const Neighbours<A>& near, const A* gradient, const uint8_t* mask_row, int64_t wide,
                   int64_t first, int64_t n, A low, A high, uint64_t* weak, uint64_t* strong) {
  constexpr int L = lanes<A>;
  const A* m = near.m[1][1] + first;
  uint64_t candidates = 0, above = 0, kept = 0;
  for (int64_t i = 0; i < n; i += L) candidates |= bits_of<A>(load(m + i) >= low) << i;
  if (n < 64) candidates &= (uint64_t(1) << n) - 1;
  if (candidates && mask_row) candidates &= bits_of_bytes(mask_row + first, n);
  for (int64_t i = 0; candidates >> i; i += L) {
    if (!(candidates >> i & (~uint64_t(0) >> (64 - L)))) continue;
    kept |= bits_of<A>(is_maximum<A>(near, gradient, wide, first + i)) << i;
    above |= bits_of<A>(load(m + i) >= high) << i;
    if (i + L == 64) break;
  }
  *weak = kept & candidates;
  *strong = kept & candidates & above;
}

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
