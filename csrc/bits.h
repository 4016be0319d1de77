// Voxels as bits. Include only from kernels/<op>/<op>_cpu.cpp, as simd.h.
#pragma once
#include "simd.h"

namespace dal {
namespace DAL_ISA {

// Bit i: is p[i] nonzero? i < 64.
DAL_INLINE uint64_t pack_64(const uint8_t* p) {
#if defined(__AVX512BW__)
  const __m512i v = _mm512_loadu_si512(p);
  return _mm512_test_epi8_mask(v, v);
#elif defined(__AVX2__)
  uint64_t word = 0;
  for (int i = 0; i < 64; i += 32) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i));
    const int zeros = _mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_setzero_si256()));
    word |= uint64_t(uint32_t(~zeros)) << i;
  }
  return word;
#else
  uint64_t word = 0;
  for (int i = 0; i < 8; ++i) {
    uint64_t v = 0;  // eight bytes, the first one lowest on any machine
    for (int j = 0; j < 8; ++j) v |= uint64_t(p[8 * i + j] != 0) << (8 * j);
    word |= ((v * 0x0102040810204080u) >> 56) << (8 * i);
  }
  return word;
#endif
}

}  // namespace DAL_ISA
}  // namespace dal
