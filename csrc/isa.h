// Which instruction set runs, decided once per process and changeable by tests.
//
// A kernel's launcher is declared for every instruction set with DAL_DECLARE in kernels/<op>/<op>.h,
// defined in namespace dal::DAL_ISA in <op>_cpu.cpp (compiled once per instruction set), and called
// from csrc/bind_ops.h with DAL_DISPATCH.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#define DAL_X86 1
#else
#define DAL_X86 0
#endif

namespace dal {

enum class Isa { portable = 0, avx2 = 1, avx512 = 2 };

Isa current_isa();  // the one in use
bool isa_supported(Isa isa);  // can this processor and this build run it?
void set_isa(Isa isa);  // throws std::invalid_argument when unsupported
const char* isa_name(Isa isa);

}  // namespace dal

#if DAL_X86
#define DAL_DECLARE(...) \
  namespace portable {   \
  __VA_ARGS__;           \
  }                      \
  namespace avx2 {       \
  __VA_ARGS__;           \
  }                      \
  namespace avx512 {     \
  __VA_ARGS__;           \
  }
#define DAL_DISPATCH(fn, ...)                                                  \
  (::dal::current_isa() == ::dal::Isa::avx512 ? ::dal::avx512::fn(__VA_ARGS__) \
   : ::dal::current_isa() == ::dal::Isa::avx2 ? ::dal::avx2::fn(__VA_ARGS__)   \
                                              : ::dal::portable::fn(__VA_ARGS__))
#else
#define DAL_DECLARE(...) \
  namespace portable {   \
  __VA_ARGS__;           \
  }
#define DAL_DISPATCH(fn, ...) ::dal::portable::fn(__VA_ARGS__)
#endif
