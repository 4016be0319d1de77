// Warp operations. Lanes that a mask names meet at the same line, or the kernel fails.
#pragma once
#include "coh/machine.h"

namespace coh {

// Every lane of `mask` brings `mine`; each then reads the value of lane `source`, or all 32.
uint64_t shuffle(unsigned mask, uint64_t mine, int source, const char* operation, Place at);
void exchange(unsigned mask, uint64_t mine, uint64_t (&all)[32], const char* operation, Place at);
unsigned ballot(unsigned mask, bool mine, const char* operation, Place at);
int lane();

// Lanes [first, first + width) form the segment of a shuffle; beyond it a lane keeps its own value.
inline int first_of_segment(int width) { return lane() & ~(width - 1); }

template <class T>
T shuffle(unsigned mask, T value, int source, bool inside, const char* operation, Place at) {
  return from_bits<T>(shuffle(mask, to_bits(value), inside ? source : lane(), operation, at));
}

template <class T, class F>
T reduce(unsigned mask, T value, F combine, const char* operation, Place at) {
  uint64_t all[32];
  exchange(mask, to_bits(value), all, operation, at);
  int first = __builtin_ctz(mask);
  T result = from_bits<T>(all[first]);
  for (int i = first + 1; i < 32; ++i)
    if (mask >> i & 1) result = combine(result, from_bits<T>(all[i]));
  return result;
}

}  // namespace coh

inline void __syncwarp(unsigned mask = 0xffffffffu, coh::Place at = coh::here()) {
  coh::ballot(mask, false, "__syncwarp", at);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, coh::Place at = coh::here()) {
  const int from = coh::first_of_segment(width) + (source & (width - 1));
  return coh::shuffle(mask, value, from, true, "__shfl_sync", at);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, coh::Place at = coh::here()) {
  const int from = coh::lane() - int(delta);
  return coh::shuffle(mask, value, from, from >= coh::first_of_segment(width), "__shfl_up_sync", at);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, coh::Place at = coh::here()) {
  const int from = coh::lane() + int(delta);
  const bool inside = from < coh::first_of_segment(width) + width;
  return coh::shuffle(mask, value, from, inside, "__shfl_down_sync", at);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, coh::Place at = coh::here()) {
  const int from = coh::lane() ^ bits;
  const bool inside = from < coh::first_of_segment(width) + width;
  return coh::shuffle(mask, value, from, inside, "__shfl_xor_sync", at);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, coh::Place at = coh::here()) {
  return coh::ballot(mask, predicate != 0, "__ballot_sync", at);
}
inline int __any_sync(unsigned mask, int predicate, coh::Place at = coh::here()) {
  return coh::ballot(mask, predicate != 0, "__any_sync", at) != 0;
}
inline int __all_sync(unsigned mask, int predicate, coh::Place at = coh::here()) {
  return coh::ballot(mask, predicate != 0, "__all_sync", at) == mask;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, coh::Place at = coh::here()) {
  uint64_t all[32];
  coh::exchange(mask, coh::to_bits(value), all, "__match_any_sync", at);
  unsigned equal = 0;
  for (int i = 0; i < 32; ++i)
    if ((mask >> i & 1) && all[i] == coh::to_bits(value)) equal |= 1u << i;
  return equal;
}

#define COH_REDUCE(name, expression)                                          \
  template <class T>                                                          \
  T name(unsigned mask, T value, coh::Place at = coh::here()) {               \
    const auto combine = [](T a, T b) { return static_cast<T>(expression); }; \
    return coh::reduce(mask, value, combine, #name, at);                      \
  }
COH_REDUCE(__reduce_add_sync, a + b)
COH_REDUCE(__reduce_min_sync, a < b ? a : b)
COH_REDUCE(__reduce_max_sync, a < b ? b : a)
COH_REDUCE(__reduce_and_sync, a& b)
COH_REDUCE(__reduce_or_sync, a | b)
COH_REDUCE(__reduce_xor_sync, a ^ b)
#undef COH_REDUCE

inline unsigned __activemask() { coh::fail("__activemask() has no meaning here: pass the mask"); }
