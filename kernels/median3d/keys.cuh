// Keys of the comparator networks: unsigned integers in the order of the floats, NaN last.
#pragma once
#include "gpu.h"

namespace dal {
namespace cuda {

using Key = uint32_t;

constexpr Key kSign = 0x80000000u;
constexpr Key kMinusInfinity = 0x007fffffu;  // ~bits of -inf; NaNs with a sign lie below and wrap around
constexpr Key kInfinity = 0xff800000u - kMinusInfinity;
constexpr Key kCanonicalNan = 0x7fffffffu;

// b = bits of v:  (b < 0 ? ~b : b ^ 0x80000000) - ~bits(-inf).   -inf 0, -0 < +0, +inf, then every NaN.
__device__ __forceinline__ Key to_key(float v) {
  const Key bits = __float_as_uint(v);
  return (bits ^ (Key(int32_t(bits) >> 31) | kSign)) - kMinusInfinity;
}

__device__ __forceinline__ float from_key(Key key) {
  const Key ordered = key + kMinusInfinity;
  const Key bits = ordered & kSign ? ordered ^ kSign : ~ordered;
  return __uint_as_float(key > kInfinity ? kCanonicalNan : bits);
}

}  // namespace cuda
}  // namespace dal
