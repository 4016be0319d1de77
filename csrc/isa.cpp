#include "isa.h"

#include <atomic>
#include <stdexcept>
#include <string>

#if DAL_X86
#include <cpuid.h>
#endif

namespace dal {
namespace {

Isa best_isa() {
  if (isa_supported(Isa::avx512)) return Isa::avx512;
  if (isa_supported(Isa::avx2)) return Isa::avx2;
  return Isa::portable;
}

std::atomic<Isa>& slot() {
  static std::atomic<Isa> chosen{best_isa()};
  return chosen;
}

#if DAL_X86
// What the builtin does not know by name in every compiler.
bool has_f16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 29));
}
bool has_lzcnt() {
  unsigned a, b, c, d;
  return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & (1u << 5));
}
#endif

}  // namespace

// Every extension that CMakeLists.txt allows the compiler to use, one by one: a virtual machine may hide
// any of them.
bool isa_supported(Isa isa) {
  if (isa == Isa::portable) return true;
#if DAL_X86
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c() &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && has_lzcnt() &&
                    __builtin_cpu_supports("popcnt");
  if (isa == Isa::avx2) return avx2;
#ifdef DAL_AVX512_EMULATED
  return avx2;
#else
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
#else
  return false;
#endif
}

Isa current_isa() { return slot().load(std::memory_order_relaxed); }

void set_isa(Isa isa) {
  if (!isa_supported(isa))
    throw std::invalid_argument(std::string("this processor cannot run the ") + isa_name(isa) + " kernels");
  slot().store(isa, std::memory_order_relaxed);
}

const char* isa_name(Isa isa) {
  return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "portable";
}

}  // namespace dal
