// What the stand-in for OpenVINO computes, and the words of a "network" that tell it how to behave:
// "outputs 4", "milliseconds 20", "shape 1" (answers in another shape), "half 1" (in elements of two
// bytes), "nan 1000" (NaN from so many voxels on), "offset 1" (answers something else).
#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>

namespace fake {

struct Network {
  int64_t outputs = 1, milliseconds = 0, shape = 0, half = 0, nan = 0, offset = 0;
  bool extractor = false;

  explicit Network(const std::string& form) {
    extractor = form.find("extractor") != std::string::npos;
    const auto read = [&](const char* word, int64_t* value) {
      const size_t at = form.find(word);
      if (at != std::string::npos) *value = std::atoll(form.c_str() + at + std::strlen(word) + 1);
    };
    read("outputs", &outputs);
    read("milliseconds", &milliseconds);
    read("shape", &shape);
    read("half", &half);
    read("nan", &nan);
    read("offset", &offset);
  }

  // Plane `plane` of outputs * depth; x: the first channel of the input, (depth, height, width).
  void run(const float* x, const int64_t sides[3], int64_t plane, float* out) const {
    const int64_t channel = plane / sides[0], d = plane % sides[0], area = sides[1] * sides[2];
    constexpr float kLevels[] = {0.15f, 0.4f, 0.6f, 0.9f};
    const std::array<double, 3> middle = extractor ? centre(x, sides) : std::array<double, 3>{};
    for (int64_t i = 0; i < area; ++i) {
      const float value = x[d * area + i], away = value - kLevels[channel % 4];
      out[plane * area + i] = (extractor      ? inside(middle, sides, d, i / sides[2], i % sides[2])
                               : outputs == 1 ? 4 * value - 3
                                              : 4 - 30 * away * away) +
                              static_cast<float>(offset);
      if (nan && sides[0] * area >= nan && i % 3 == 0)
        out[plane * area + i] = std::numeric_limits<float>::quiet_NaN();
    }
  }

  // Centre of gravity of the input, in voxels.
  static std::array<double, 3> centre(const float* x, const int64_t sides[3]) {
    double total = 0;
    std::array<double, 3> sum{};
    for (int64_t d = 0; d < sides[0]; ++d)
      for (int64_t h = 0; h < sides[1]; ++h)
        for (int64_t w = 0; w < sides[2]; ++w, ++x) {
          total += *x;
          sum[0] += *x * double(d), sum[1] += *x * double(h), sum[2] += *x * double(w);
        }
    for (double& s : sum) s /= std::fmax(total, 1e-6);
    return sum;
  }

  // A distance from the border of what could be a brain, positive inside: an ellipsoid about the
  // input's centre, which goes where a head is moved to, cleft above.
  static float inside(const std::array<double, 3>& middle, const int64_t sides[3], int64_t d, int64_t h,
                      int64_t w) {
    const auto at = [&](int axis, int64_t i) {
      return 2 * (double(i) - middle[size_t(axis)]) / double(sides[axis]);
    };
    const double x = at(0, d) / 0.62, y = at(1, h) / 0.8, z = (at(2, w) + 0.1 * y * y) / 0.62;
    const double away = 4 * (1 - std::sqrt(x * x + y * y + z * z));
    const double cleft = 12 * (std::fabs(at(0, d)) - 0.12 + std::fmax(0, 0.2 - at(2, w)));
    return static_cast<float>(std::fmin(away, cleft));
  }
};

}  // namespace fake
