// Vectors of the instruction set being compiled, written with the compiler's vector extensions so
// that one source serves AVX-512 (64 bytes), AVX2 (32), SSE2 and NEON (16).
//
// Include only from kernels/<op>/<op>_cpu.cpp. Rules for those files: everything lives in namespace
// dal::DAL_ISA; no STL containers or streams (their inline functions would be compiled with this
// instruction set and could be linked into the portable path); std::min, std::max and <cmath> are fine.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "dtype.h"
#include "integers.h"

#if defined(__F16C__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef DAL_ISA
#error "simd.h is compiled once per instruction set: DAL_ISA names it"
#endif

#define DAL_INLINE inline __attribute__((always_inline))

namespace dal {
namespace DAL_ISA {

namespace isa_detail {
constexpr int portable = 16, avx2 = 32, avx512 = 64;  // bytes per vector, by name of the path
}
constexpr int kVectorBytes = isa_detail::DAL_ISA;

// Where scratch begins while its layout only adds up sizes: no offset may be added to a null pointer. It is
// aligned to 64 bytes and neither read nor written.
template <class T>
T* base_to_measure_from() {
  return reinterpret_cast<T*>(64);
}

// vec<T>: a register of T; lanes<T>: how many; mask<T>: all-ones or zero per lane, as integers.
template <class T>
struct vec_of;
template <>
struct vec_of<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
  typedef float loose __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
  typedef int32_t mask __attribute__((vector_size(kVectorBytes)));
};
template <>
struct vec_of<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
  typedef double loose __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
  typedef int64_t mask __attribute__((vector_size(kVectorBytes)));
};
template <>
struct vec_of<int16_t> {
  typedef int16_t type __attribute__((vector_size(kVectorBytes)));
  typedef int16_t loose __attribute__((vector_size(kVectorBytes), aligned(2), may_alias));
  typedef int16_t mask __attribute__((vector_size(kVectorBytes)));
};
template <>
struct vec_of<int32_t> {
  typedef int32_t type __attribute__((vector_size(kVectorBytes)));
  typedef int32_t loose __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
  typedef int32_t mask __attribute__((vector_size(kVectorBytes)));
};
template <>
struct vec_of<int64_t> {
  typedef int64_t type __attribute__((vector_size(kVectorBytes)));
  typedef int64_t loose __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
  typedef int64_t mask __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using vec = typename vec_of<T>::type;
template <class T>
using mask = typename vec_of<T>::mask;
template <class T>
constexpr int lanes = kVectorBytes / int(sizeof(T));

template <class T>
DAL_INLINE vec<T> broadcast(T value) {
  return vec<T>{} + value;
}

template <class T>
DAL_INLINE vec<T> load(const T* p) {
  return *reinterpret_cast<const typename vec_of<T>::loose*>(p);
}
template <class T>
DAL_INLINE void store(T* p, vec<T> v) {
  *reinterpret_cast<typename vec_of<T>::loose*>(p) = v;
}

// The first n lanes (0 <= n <= lanes<T>); missing lanes read as zero and are not written.
template <class T>
DAL_INLINE vec<T> load_n(const T* p, int n) {
  vec<T> v{};
  __builtin_memcpy(&v, p, sizeof(T) * size_t(n));
  return v;
}
template <class T>
DAL_INLINE void store_n(T* p, vec<T> v, int n) {
  __builtin_memcpy(p, &v, sizeof(T) * size_t(n));
}

template <class T>
DAL_INLINE vec<T> select(mask<T> m, vec<T> yes, vec<T> no) {
  return m ? yes : no;
}
template <class T>
DAL_INLINE vec<T> minimum(vec<T> a, vec<T> b) {
  return a < b ? a : b;
}
template <class T>
DAL_INLINE vec<T> maximum(vec<T> a, vec<T> b) {
  return a > b ? a : b;
}
DAL_INLINE vec<float> absolute(vec<float> v) { return (vec<float>)((mask<float>)v & 0x7fffffff); }
DAL_INLINE vec<double> absolute(vec<double> v) {
  return (vec<double>)((mask<double>)v & 0x7fffffffffffffffLL);
}

#if defined(__FMA__)
DAL_INLINE __m256 fused(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
DAL_INLINE __m256d fused(__m256d a, __m256d b, __m256d c) { return _mm256_fmadd_pd(a, b, c); }
#endif
// a b + c, rounded once on every instruction set; in double without such an instruction, twice.
template <class V>
DAL_INLINE V multiply_add(V a, V b, V c) {
  using T = typename std::remove_reference<decltype(a[0])>::type;
  [[maybe_unused]] constexpr int count = int(sizeof(V) / sizeof(T));
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64 && sizeof(T) == 4)
    return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
  if constexpr (sizeof(V) == 64 && sizeof(T) == 8)
    return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#endif
#if defined(__FMA__)
  typedef T half __attribute__((vector_size(32)));
  if constexpr (sizeof(V) == 32) return (V)fused((half)a, (half)b, (half)c);
  half p[2], q[2], r[2];  // 64 bytes without AVX-512
  __builtin_memcpy(p, &a, sizeof(V));
  __builtin_memcpy(q, &b, sizeof(V));
  __builtin_memcpy(r, &c, sizeof(V));
  for (int i = 0; i < 2; ++i) r[i] = fused(p[i], q[i], r[i]);
  __builtin_memcpy(&c, r, sizeof(V));
  return c;
#elif defined(__aarch64__)
  for (int i = 0; i < count; ++i) c[i] = std::fma(a[i], b[i], c[i]);
  return c;
#else
  if constexpr (sizeof(T) == 8) return a * b + c;
  typedef double wide __attribute__((vector_size(count * 8)));  // holds products of floats exactly
  return __builtin_convertvector(__builtin_convertvector(a, wide) * __builtin_convertvector(b, wide) +
                                     __builtin_convertvector(c, wide),
                                 V);
#endif
}
template <class V>
DAL_INLINE V root(V v) {
  for (int i = 0; i < int(sizeof(V) / sizeof(v[0])); ++i) v[i] = std::sqrt(v[i]);
  return v;
}

template <class T>
DAL_INLINE vec<T> reversed(vec<T> v) {
  vec<T> r;
  for (int i = 0; i < lanes<T>; ++i) r[i] = v[lanes<T> - 1 - i];
  return r;
}

// shifted<n>(a, b): lanes n, n + 1, ... of a | b, 0 < n < lanes; where kShifts, in few instructions, which
// beats loads that cross cache lines.
template <class T>
constexpr bool kShifts = false;
#if defined(__AVX512F__)
template <>
inline constexpr bool kShifts<float> = kVectorBytes == 64;
template <int n, class V>
DAL_INLINE V shifted(V a, V b) {
  // masked, though all lanes are wanted: GCC 12 takes the other for uninitialised
  return (V)_mm512_maskz_alignr_epi32(0xffff, (__m512i)b, (__m512i)a, n);
}
#elif defined(__AVX2__)
template <>
inline constexpr bool kShifts<float> = kVectorBytes == 32;
template <int n, class V>
DAL_INLINE V shifted(V a, V b) {
  const __m256i middle = _mm256_permute2x128_si256((__m256i)a, (__m256i)b, 0x21);
  if constexpr (n == 4) return (V)middle;
  if constexpr (n < 4) return (V)_mm256_alignr_epi8(middle, (__m256i)a, 4 * n);
  return (V)_mm256_alignr_epi8((__m256i)b, middle, 4 * (n & 3));
}
#else
template <int n, class V>
V shifted(V a, V b);  // not called
#endif

// Scalars of the stored types, exactly and with round-to-nearest-even.
DAL_INLINE float to_arithmetic(float v) { return v; }
DAL_INLINE double to_arithmetic(double v) { return v; }
DAL_INLINE float to_arithmetic(bfloat16_t v) {
  const uint32_t bits = uint32_t(v.bits) << 16;
  float f;
  __builtin_memcpy(&f, &bits, 4);
  return f;
}
DAL_INLINE float to_arithmetic(half_t v) {
#if defined(__F16C__)
  return _cvtsh_ss(v.bits);
#else
  const uint32_t sign = uint32_t(v.bits & 0x8000u) << 16, mantissa = v.bits & 0x3ffu;
  const uint32_t exponent = (v.bits >> 10) & 0x1fu;
  uint32_t bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000u | (mantissa << 13);
  } else if (exponent) {
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  } else {  // subnormal: mantissa * 2^-24, exact in float
    const float f = float(mantissa) * 5.9604644775390625e-8f;
    return sign ? -f : f;
  }
  float f;
  __builtin_memcpy(&f, &bits, 4);
  return f;
#endif
}

DAL_INLINE void from_arithmetic(float v, float* out) { *out = v; }
DAL_INLINE void from_arithmetic(double v, double* out) { *out = v; }
DAL_INLINE void from_arithmetic(float v, bfloat16_t* out) {
  uint32_t bits;
  __builtin_memcpy(&bits, &v, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    out->bits = uint16_t((bits >> 16) | 0x40u);  // a NaN stays one
  } else {
    out->bits = uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }
}
DAL_INLINE void from_arithmetic(float v, half_t* out) {
#if defined(__F16C__)
  out->bits = uint16_t(_cvtss_sh(v, _MM_FROUND_TO_NEAREST_INT));
#else
  uint32_t bits;
  __builtin_memcpy(&bits, &v, 4);
  const uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  uint32_t h;
  if (magnitude > 0x7f800000u) {
    h = 0x7e00u;
  } else if (magnitude >= 0x477ff000u) {  // rounds to infinity
    h = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // subnormal or zero: let the float adder round
    float f;
    __builtin_memcpy(&f, &magnitude, 4);
    f += 0.5f;
    __builtin_memcpy(&h, &f, 4);
    h -= 0x3f000000u;
  } else {
    h = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  out->bits = uint16_t(sign | h);
#endif
}

// A vector of the arithmetic type from any stored type.
DAL_INLINE vec<float> load_as(const float* p) { return load(p); }
DAL_INLINE vec<double> load_as(const double* p) { return load(p); }
template <class S>
DAL_INLINE vec<float> load_as(const S* p) {
  vec<float> v;
  for (int i = 0; i < lanes<float>; ++i) v[i] = to_arithmetic(p[i]);
  return v;
}

// A row of n elements between the stored and the arithmetic type.
template <class S>
DAL_INLINE void load_row(const S* p, int64_t n, arithmetic_t<S>* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = to_arithmetic(p[i]);
}
template <class S>
DAL_INLINE void store_row(const arithmetic_t<S>* row, int64_t n, S* out) {
  for (int64_t i = 0; i < n; ++i) from_arithmetic(row[i], out + i);
}

}  // namespace DAL_ISA
}  // namespace dal
