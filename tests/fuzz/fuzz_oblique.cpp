// Any affine map, axis order and direction of the source: the same bits on every path and for every number
// of threads, near a sum in double.
#include <algorithm>

#include "fuzz.h"
#include "oblique/oblique.h"

namespace {

using namespace fuzz;
using dal::Oblique;
using dal::ObliqueAxis;

double draw_step(Source& s) {
  const double size = std::pow(10, 6 * s.random() - 4);
  return s.number(0, 4) == 0 ? 0 : s.coin() ? size : -size;
}

double voxel(const void* x, dal::Voxel kind, int64_t at) {
  if (kind == dal::Voxel::f32) return static_cast<const float*>(x)[at];
  if (kind == dal::Voxel::i16) return static_cast<const int16_t*>(x)[at];
  return static_cast<const uint8_t*>(x)[at];
}

// Trilinear interpolation in double; not a number where rounding decides what is inside.
double trilinear(const void* x, dal::Voxel kind, const Oblique& p, const double (&at)[3]) {
  double shares[3];
  int64_t low[3], high[3];
  for (int a = 0; a < 3; ++a) {
    const double last = double(p.axes[a].size - 1);
    if (at[a] < -0.5 - 1e-3 || at[a] > last + 0.5 + 1e-3) return 0;
    if (at[a] < -0.5 + 1e-3 || at[a] > last + 0.5 - 1e-3) return std::nan("");
    const double inside = std::min(std::max(at[a], 0.0), last);
    low[a] = int64_t(std::floor(inside));
    high[a] = std::min(low[a] + 1, p.axes[a].size - 1);
    shares[a] = inside - double(low[a]);
  }
  double sum = 0;
  for (int corner = 0; corner < 8; ++corner) {
    double weight = 1;
    int64_t place = 0;
    for (int a = 0; a < 3; ++a) {
      const bool upper = corner >> a & 1;
      weight *= upper ? shares[a] : 1 - shares[a];
      place += (upper ? high[a] : low[a]) * p.axes[a].stride;
    }
    sum += weight * voxel(x, kind, place);
  }
  return sum;
}

void compare(const void* x, dal::Voxel kind, const Oblique& p, const Bytes& result, double largest) {
  for (int64_t d = 0; d < p.depth; ++d)
    for (int64_t h = 0; h < p.height; ++h)
      for (int64_t w = 0; w < p.width; ++w) {
        double at[3];
        for (int a = 0; a < 3; ++a)
          at[a] = p.axes[a].offset + double(d) * p.axes[a].step_d + double(h) * p.axes[a].step_h +
                  double(w) * p.axes[a].step_w;
        const double want = trilinear(x, kind, p, at);
        float got;
        std::memcpy(&got, result.data() + 4 * (d * p.stride_d + h * p.stride_h + w), 4);
        if (!std::isnan(want) && !(std::abs(double(got) - want) <= 1e-3 * largest)) fail("not the sum");
      }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Source s(data, size);
  const auto kind = static_cast<dal::Voxel>(s.number(0, 2));
  int order[] = {0, 1, 2};
  std::rotate(order, order + s.number(0, 2), order + 3);
  if (s.coin()) std::swap(order[0], order[2]);
  Oblique plan{};
  int64_t stride = 1, first = 0;
  for (const int a : order) {
    const int64_t voxels = s.number(1, 30);
    const bool flipped = s.coin();
    plan.axes[a] = {
        voxels, flipped ? -stride : stride, 60 * s.random() - 30, draw_step(s), draw_step(s), draw_step(s)};
    if (flipped) first += stride * (voxels - 1);
    stride *= voxels;
  }
  plan.depth = s.number(1, 4), plan.height = s.number(1, 40), plan.width = s.number(1, 60);
  plan.stride_h = plan.width + s.number(0, 3);
  plan.stride_d = plan.stride_h * plan.height + s.number(0, 3);
  plan.nearest = s.coin();
  const int64_t element = kind == dal::Voxel::f32 ? 4 : kind == dal::Voxel::i16 ? 2 : 1;
  Buffer x(stride * element, element * s.number(0, 3));
  if (kind == dal::Voxel::f32) {
    fill(s, x.as<void>(), stride, dal::DType::f32, Style::mild);
  } else {
    for (int64_t i = 0; i < stride * element; ++i)
      x.as<uint8_t>()[i] = static_cast<uint8_t>(256 * s.random());
  }
  const uint8_t* const origin = x.as<uint8_t>() + first * element;
  const int64_t last = (plan.depth - 1) * plan.stride_d + (plan.height - 1) * plan.stride_h + plan.width;
  const Bytes result = everywhere(
      [&](int threads) {
        Buffer out(4 * last);
        DAL_DISPATCH(oblique3d, origin, kind, plan, out.as<float>(), threads);
        return out.bytes();
      },
      equal);
  const double largest = kind == dal::Voxel::f32 ? 1 : kind == dal::Voxel::u8 ? 255 : 32768;
  if (!plan.nearest) compare(origin, kind, plan, result, largest);
  return 0;
}
