// exp and log of float32 in additions and multiplications alone, for loops that the compiler turns into
// vectors: the same bits on every instruction set, which the C library's functions do not promise. Compile
// what includes it with -ffp-contract=off. Include only from kernels/<op>/<op>_cpu.cpp, as simd.h.
//
// The polynomials are those of the Cephes library (S. Moshier); errors are below two units in the last
// place.
#pragma once
#include "simd.h"

namespace dal {
namespace DAL_ISA {

DAL_INLINE int32_t bits_of(float value) {
  int32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}
DAL_INLINE float float_of(int32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

// e^x; 0 below -87, and e^88 above 88. NaN stays.
DAL_INLINE float exp_of(float x) {
  const float most = x > 88.f ? 88.f : x, kept = most < -87.f ? -87.f : most;
  constexpr float kRound = 12582912.f;  // 1.5 * 2^23: adding it rounds to a whole number
  const float shifted_n = kept * 1.44269504f + kRound, n = shifted_n - kRound;
  const float r = (kept - n * 0.693359375f) - n * -2.12194440e-4f;
  float y = 1.9875691500e-4f;
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * (r * r) + r + 1.f;
  const int32_t power = bits_of(shifted_n) - bits_of(kRound);
  const float scaled = y * float_of(int32_t(uint32_t(power + 127) << 23));
  return x < -87.f ? 0.f : scaled;
}

// ln x of a positive x; below the smallest normal number, of that.
DAL_INLINE float log_of(float x) {
  const float normal = x < 1.17549435e-38f ? 1.17549435e-38f : x;
  const int32_t bits = bits_of(normal);
  const float half = float_of((bits & 0x7fffff) | 0x3f000000);  // in [0.5, 1)
  const int32_t low = half < 0.707106781f ? 1 : 0;
  const float e = float((bits >> 23) - 126 - low);
  const float m = (low ? half + half : half) - 1.f, z = m * m;
  float y = 7.0376836292e-2f;
  y = y * m - 1.1514610310e-1f;
  y = y * m + 1.1676998740e-1f;
  y = y * m - 1.2420140846e-1f;
  y = y * m + 1.4249322787e-1f;
  y = y * m - 1.6668057665e-1f;
  y = y * m + 2.0000714765e-1f;
  y = y * m - 2.4999993993e-1f;
  y = y * m + 3.3333331174e-1f;
  y = y * m * z;
  y = y - 2.12194440e-4f * e;
  y = y - 0.5f * z;
  return (m + y) + 0.693359375f * e;
}

}  // namespace DAL_ISA
}  // namespace dal
