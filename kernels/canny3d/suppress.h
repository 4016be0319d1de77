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

// Value at fraction (ux, uy, uz) of the way from corner 000 to corner 111; corner[dz][dy][dx].
template <class A>
DAL_INLINE vec<A> trilinear(const vec<A> (&corner)[2][2][2], vec<A> ux, vec<A> uy, vec<A> uz) {
  vec<A> plane[2];
  for (int k = 0; k < 2; ++k)
    plane[k] = lerp<A>(lerp<A>(corner[k][0][0], corner[k][0][1], ux),
                       lerp<A>(corner[k][1][0], corner[k][1][1], ux), uy);
  return lerp<A>(plane[0], plane[1], uz);
}

// The eight corners of the octant that the gradient points into (`ahead`) and of the opposite one. For
// the axes in `steps` (bit 0: x, 1: y, 2: z) the corner lies one voxel along or against the sign of G.
template <class A>
DAL_INLINE void octants(const Neighbours<A>& near, int64_t x, const mask<A> (&negative)[3],
                        vec<A> (&ahead)[2][2][2], vec<A> (&behind)[2][2][2]) {
  const auto at = [&](int z, int y, int dx) { return load(near.m[1 + z][1 + y] + x + dx); };
  for (int steps = 0; steps < 8; ++steps) {
    const int sx = steps & 1, sy = steps >> 1 & 1, sz = steps >> 2;
    vec<A> values[8];  // by sign: bit set where that axis is taken against its direction
    for (int sign = 0; sign < 8; ++sign)
      if ((sign & ~steps) == 0)
        values[sign] = at(sign & 4 ? -sz : sz, sign & 2 ? -sy : sy, sign & 1 ? -sx : sx);
    for (int axis = 0; axis < 3; ++axis) {  // swap the pairs whose gradient is negative along this axis
      const int bit = 1 << axis;
      if (!(steps & bit)) continue;
      for (int sign = 0; sign < 8; ++sign) {
        if ((sign & ~steps) || (sign & bit)) continue;
        const vec<A> forward = values[sign], back = values[sign | bit];
        values[sign] = select<A>(negative[axis], back, forward);
        values[sign | bit] = select<A>(negative[axis], forward, back);
      }
    }
    ahead[sz][sy][sx] = values[0];
    behind[sz][sy][sx] = values[steps];
  }
}

// Lanes whose magnitude no neighbour along the gradient exceeds. gradient: gx, gy, gz, `wide` apart.
template <class A>
DAL_INLINE mask<A> is_maximum(const Neighbours<A>& near, const A* gradient, int64_t wide, int64_t x) {
  const vec<A> gx = load(gradient + x), gy = load(gradient + wide + x), gz = load(gradient + 2 * wide + x);
  const vec<A> ax = absolute(gx), ay = absolute(gy), az = absolute(gz);
  const vec<A> inverse = A(1) / maximum<A>(maximum<A>(ax, ay), az);
  const vec<A> ux = ax * inverse, uy = ay * inverse, uz = az * inverse;
  const mask<A> negative[3] = {gx < 0, gy < 0, gz < 0};
  vec<A> ahead[2][2][2], behind[2][2][2];
  octants<A>(near, x, negative, ahead, behind);
  const vec<A> limit = load(near.m[1][1] + x) * A(1 + kTie);
  return (trilinear<A>(ahead, ux, uy, uz) <= limit) & (trilinear<A>(behind, ux, uy, uz) <= limit);
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
