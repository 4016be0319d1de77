// Arithmetic intrinsics, in the host's rounding: compare with tolerances, not bit by bit.
#pragma once
#include <math.h>  // not <cmath>: isnan and its kin stand in the global namespace, as in CUDA
#include <stdlib.h>

#include "coh/machine.h"

// Cached and streaming accesses are plain ones; those past the L1 cache see concurrent writes.
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *static_cast<const volatile T*>(p);
}
template <class T>
void __stcs(T* p, coh::same_t<T> v) {
  *p = v;
}
template <class T>
void __stcg(T* p, coh::same_t<T> v) {
  *static_cast<volatile T*>(p) = v;
}

#define COH_MIN_MAX(A, B, R) \
  inline R min(A a, B b) {   \
    const R x = a, y = b;    \
    return y < x ? y : x;    \
  }                          \
  inline R max(A a, B b) {   \
    const R x = a, y = b;    \
    return x < y ? y : x;    \
  }
COH_MIN_MAX(int, int, int)
COH_MIN_MAX(unsigned, unsigned, unsigned)
COH_MIN_MAX(int, unsigned, unsigned)
COH_MIN_MAX(unsigned, int, unsigned)
COH_MIN_MAX(long, long, long)
COH_MIN_MAX(unsigned long, unsigned long, unsigned long)
COH_MIN_MAX(long long, long long, long long)
COH_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
#undef COH_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __powf(float a, float b) { return powf(a, b); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }  // NaN -> 0
inline float norm3df(float x, float y, float z) { return sqrtf(x * x + y * y + z * z); }
inline float rnorm3df(float x, float y, float z) { return 1.0f / norm3df(x, y, z); }

inline int __float2int_rn(float x) { return int(lrintf(x)); }
inline int __float2int_rd(float x) { return int(floorf(x)); }
inline int __float2int_ru(float x) { return int(ceilf(x)); }
inline int __float2int_rz(float x) { return int(x); }
inline unsigned __float2uint_rn(float x) { return unsigned(llrintf(x)); }
inline unsigned __float2uint_rz(float x) { return unsigned(x); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }
inline int __float_as_int(float x) { return coh::from_bits<int>(coh::to_bits(x)); }
inline unsigned __float_as_uint(float x) { return coh::from_bits<unsigned>(coh::to_bits(x)); }
inline float __int_as_float(int x) { return coh::from_bits<float>(coh::to_bits(x)); }
inline float __uint_as_float(unsigned x) { return coh::from_bits<float>(coh::to_bits(x)); }
inline long long __double_as_longlong(double x) { return coh::from_bits<long long>(coh::to_bits(x)); }
inline double __longlong_as_double(long long x) { return coh::from_bits<double>(coh::to_bits(x)); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1) << (31 - i);
  return reversed;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = uint64_t(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) result |= unsigned(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return unsigned((uint64_t(high) << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return unsigned((uint64_t(high) << 32 | low) >> (shift & 31));
}
inline int __mulhi(int a, int b) { return int(int64_t(a) * b >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline int __mul24(int a, int b) { return a * b; }
inline unsigned __umul24(unsigned a, unsigned b) { return a * b; }

// Two or four numbers in one word, lane by lane.
namespace coh {
template <class T, class F>
unsigned lanes(unsigned a, unsigned b, F combine) {
  constexpr int bits = 8 * int(sizeof(T));
  unsigned result = 0;
  for (int i = 0; i < 32; i += bits)
    result |= (unsigned(combine(T(a >> i), T(b >> i))) & (0xffffffffu >> (32 - bits))) << i;
  return result;
}
}  // namespace coh
#define COH_LANES(minimum, maximum, T)                                  \
  inline unsigned minimum(unsigned a, unsigned b) {                     \
    return coh::lanes<T>(a, b, [](T x, T y) { return y < x ? y : x; }); \
  }                                                                     \
  inline unsigned maximum(unsigned a, unsigned b) {                     \
    return coh::lanes<T>(a, b, [](T x, T y) { return x < y ? y : x; }); \
  }
COH_LANES(__vmins2, __vmaxs2, int16_t)
COH_LANES(__vminu2, __vmaxu2, uint16_t)
COH_LANES(__vmins4, __vmaxs4, int8_t)
COH_LANES(__vminu4, __vmaxu4, uint8_t)
#undef COH_LANES
