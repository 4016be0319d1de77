// Element types that cross the binding, and the arithmetic type each is computed in.
#pragma once
#include <cstdint>
#include <stdexcept>

namespace dal {

enum class DType : int { f32 = 0, f64 = 1, f16 = 2, bf16 = 3 };

// What scans are stored as, for resampling.
enum class Voxel : int { f32 = 0, u8 = 1, i16 = 2 };

struct half_t {
  uint16_t bits;
};
struct bfloat16_t {
  uint16_t bits;
};

template <class T>
struct arithmetic {
  using type = float;
};  // f32, f16, bf16
template <>
struct arithmetic<double> {
  using type = double;
};
template <class T>
using arithmetic_t = typename arithmetic<T>::type;

template <class T>
struct type_tag {
  using type = T;
};

// Calls f(type_tag<T>{}) for the C++ type of `dtype`.
template <class F>
auto with_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(type_tag<float>{});
    case DType::f64:
      return f(type_tag<double>{});
    case DType::f16:
      return f(type_tag<half_t>{});
    case DType::bf16:
      return f(type_tag<bfloat16_t>{});
  }
  throw std::invalid_argument("unknown dtype code");
}

}  // namespace dal
