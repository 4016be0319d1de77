// Whole numbers as Python rounds and divides, whatever the host's rounding mode is.
#pragma once
#include <cmath>
#include <cstdint>

namespace dal {

// To the nearest, halves to the even one.
inline double nearest_whole(double v) {
  const double below = std::floor(v), rest = v - below;
  if (rest != 0.5) return rest < 0.5 ? below : below + 1;
  return std::fmod(below, 2) == 0 ? below : below + 1;
}
inline int64_t round_half_even(double v) { return int64_t(nearest_whole(v)); }

// a / b rounded down, b > 0.
inline int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

}  // namespace dal
