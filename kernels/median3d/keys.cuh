// Keys of the comparator networks: unsigned integers in the order of the floats, NaN last.
//
//   b = bits of a float32, or those of a 16-bit float << 16
//   key(b) = (b < 0 ? ~b : b ^ 0x80000000) - ~bits(-inf)     -inf 0, ..., -0 < +0, ..., +inf, every NaN
//
// NaNs with a sign lie below -inf before the subtraction and wrap around to the top.
#pragma once
#include "gpu.h"

namespace dal {
namespace cuda {

using Key = uint32_t;

constexpr Key kSign = 0x80000000u, kNan = 0x7fffffffu;

// Bits: uint32_t or uint16_t. minus_infinity: the complement of its bits, as b.
template <class Bits>
__device__ __forceinline__ Key to_key(Bits bits, Key minus_infinity) {
  const Key b = Key(bits) << (32 - 8 * sizeof(Bits));
  return (b ^ (Key(int32_t(b) >> 31) | kSign)) - minus_infinity;
}

// The inverse; every NaN becomes the canonical one.
template <class Bits>
__device__ __forceinline__ Bits from_key(Key key, Key minus_infinity) {
  const Key ordered = key + minus_infinity, infinity = ~minus_infinity - minus_infinity;
  const Key b = key > infinity ? kNan : ordered & kSign ? ordered ^ kSign : ~ordered;
  return Bits(b >> (32 - 8 * sizeof(Bits)));
}

// 1, but the compiler cannot know.
__constant__ Key one = 1;

// max(a, b), given their minimum. Minima and maxima share one pipe, at half rate; kMultiply takes the
// result from the pipe of the multiplications, which would idle: a + b - low, modulo 2^32.
template <bool kMultiply>
__device__ __forceinline__ Key higher(Key a, Key b, Key low) {
  return kMultiply ? (a - low) * one + b : max(a, b);
}

}  // namespace cuda
}  // namespace dal
