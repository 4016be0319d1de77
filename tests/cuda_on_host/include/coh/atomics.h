// Atomics. One thread runs at a time, so plain code is atomic as long as no other comes in between: a
// switch may happen before it only.
#pragma once
#include "coh/machine.h"

namespace coh {

// Lets another thread run now and then, and tells the checker of race builds.
void before_atomic(const volatile void* address, unsigned bytes);

template <class T, class F>
COH_UNCHECKED T atomic(T* address, F new_value) {
  before_atomic(address, sizeof(T));
  const T old = *address;
  *address = new_value(old);
  return old;
}

}  // namespace coh

#define COH_ATOMIC(name, expression)                                                \
  template <class T>                                                                \
  T name(T* address, coh::same_t<T> v) {                                            \
    return coh::atomic(address, [v](T old) { return static_cast<T>(expression); }); \
  }                                                                                 \
  template <class T>                                                                \
  T name##_block(T* address, coh::same_t<T> v) {                                    \
    return name(address, v);                                                        \
  }
COH_ATOMIC(atomicAdd, old + v)
COH_ATOMIC(atomicSub, old - v)
COH_ATOMIC(atomicMin, v < old ? v : old)
COH_ATOMIC(atomicMax, old < v ? v : old)
COH_ATOMIC(atomicAnd, old& v)
COH_ATOMIC(atomicOr, old | v)
COH_ATOMIC(atomicXor, old ^ v)
COH_ATOMIC(atomicInc, old >= v ? T(0) : old + 1)
COH_ATOMIC(atomicDec, old == 0 || old > v ? v : old - 1)
#undef COH_ATOMIC

template <class T>
T atomicExch(T* address, coh::same_t<T> v) {
  return coh::atomic(address, [v](T) { return v; });
}
template <class T>
T atomicCAS(T* address, coh::same_t<T> expected, coh::same_t<T> v) {
  return coh::atomic(address, [expected, v](T old) { return old == expected ? v : old; });
}
