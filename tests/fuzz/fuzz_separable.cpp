// Any axis order and direction of the source; close on every path.
#include <algorithm>

#include "fuzz.h"
#include "separable/separable.h"

namespace {

struct Axis {
  std::vector<int32_t> index;
  std::vector<float> weight;
  int64_t taps, count, size;
};

Axis draw_axis(fuzz::Source& s) {
  Axis axis{{}, {}, s.number(1, 6), s.number(1, 40), s.number(1, 30)};
  for (int64_t i = 0; i < axis.taps * axis.count; ++i) {
    axis.index.push_back(static_cast<int32_t>(s.random() * double(axis.size)));
    axis.weight.push_back(static_cast<float>(s.random() < 0.2 ? 0.0 : s.random()));
  }
  return axis;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fuzz;
  Source s(data, size);
  Axis axes[] = {draw_axis(s), draw_axis(s), draw_axis(s)};
  const auto kind = static_cast<dal::Voxel>(s.number(0, 2));
  int order[] = {0, 1, 2};
  std::rotate(order, order + s.number(0, 2), order + 3);
  if (s.coin()) std::swap(order[0], order[2]);
  dal::Separable plan{};
  int64_t stride = 1, first = 0;
  for (const int axis : order) {
    const bool flipped = s.coin();
    plan.axes[axis] = {axes[axis].index.data(), axes[axis].weight.data(), axes[axis].taps,
                       axes[axis].count,        axes[axis].size,          flipped ? -stride : stride};
    if (flipped) first += stride * (axes[axis].size - 1);
    stride *= axes[axis].size;
  }
  plan.stride_h = axes[2].count + s.number(0, 3);
  plan.stride_d = plan.stride_h * axes[1].count + s.number(0, 3);
  const int64_t element = kind == dal::Voxel::f32 ? 4 : kind == dal::Voxel::i16 ? 2 : 1;
  Buffer x(stride * element, element * s.number(0, 3));
  if (kind == dal::Voxel::f32) {
    fill(s, x.as<void>(), stride, dal::DType::f32, Style::mild);
  } else {
    for (int64_t i = 0; i < stride * element; ++i)
      x.as<uint8_t>()[i] = static_cast<uint8_t>(256 * s.random());
  }
  const int64_t last = (axes[0].count - 1) * plan.stride_d + (axes[1].count - 1) * plan.stride_h;
  everywhere(
      [&](int threads) {
        Buffer out(4 * (last + axes[2].count));
        Buffer workspace(DAL_DISPATCH(separable3d_workspace, plan, threads));
        DAL_DISPATCH(separable3d, x.as<uint8_t>() + first * element, kind, plan, out.as<float>(),
                     workspace.as<void>(), threads);
        return out.bytes();
      },
      [](const Bytes& a, const Bytes& b) { return close<float>(a, b, 1e-4); });
  return 0;
}
