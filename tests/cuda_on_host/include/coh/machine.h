// The machine under a kernel: its threads are fibers, one at a time runs on the CPU.
#pragma once
#include <cuda_runtime_api.h>
#include <vector_types.h>

#include <cstdint>
#include <cstring>
#include <tuple>
#include <utility>

// The checker of race builds must not see the shim's own loads and stores.
#ifdef COH_RACE
#define COH_UNCHECKED __attribute__((no_sanitize("thread"), noinline))
#else
#define COH_UNCHECKED
#endif

namespace coh {

// Where in the kernel's source a barrier or a warp operation stands.
struct Place {
  const char* file = nullptr;
  int line = 0;
};
// As the default of a last argument: the caller's place.
constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return {file, line};
}

// What kernel code sees of its thread.
struct Thread {
  uint3 thread, block;  // threadIdx, blockIdx
  unsigned linear, lane, warp;
};
extern Thread* current;
extern dim3 block_size, grid_size;

// Ends the kernel: its launch fails with this message. In host code it throws std::logic_error.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Dynamic shared memory of the block.
void* dyn_smem();

void launch_body(const void* kernel, const char* name, dim3 grid, dim3 block, size_t shared_bytes,
                 void (*body)(void*), void* arguments);

// Runs a kernel to its end. Errors are kept for cudaGetLastError, as on a GPU.
template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t, A&&... arguments) {
  struct Call {
    void (*kernel)(P...);
    std::tuple<P...> arguments;
  } call{kernel, std::tuple<P...>(std::forward<A>(arguments)...)};
  const auto body = [](void* c) {
    std::apply(static_cast<Call*>(c)->kernel, static_cast<Call*>(c)->arguments);
  };
  launch_body(reinterpret_cast<const void*>(kernel), name, grid, block, shared_bytes, body, &call);
}

// Values of one to eight bytes travel between lanes as bits.
template <class T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8, "warp operations exchange at most eight bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
T from_bits(uint64_t bits) {
  T value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// A parameter that takes no part in template deduction.
template <class T>
struct same {
  using type = T;
};
template <class T>
using same_t = typename same<T>::type;

}  // namespace coh
