#include "isa.h"

#include <atomic>
#include <stdexcept>
#include <string>

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

}  // namespace

bool isa_supported(Isa isa) {
  if (isa == Isa::portable) return true;
#if DAL_X86
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
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
