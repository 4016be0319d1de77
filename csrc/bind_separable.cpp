#include <pybind11/stl.h>

#include <array>
#include <tuple>

#include "bindings.h"
#include "separable/separable.h"

namespace dal {
namespace cpu {
namespace {

using Axis = std::tuple<address, address, int64_t, int64_t, int64_t, int64_t>;

Separable plan_of(const std::array<Axis, 3>& axes, int64_t stride_d, int64_t stride_h) {
  Separable plan{{}, stride_d, stride_h};
  for (int a = 0; a < 3; ++a) {
    const auto& [index, weight, taps, count, size, stride] = axes[a];
    plan.axes[a] = {pointer<int32_t>(index), pointer<float>(weight), taps, count, size, stride};
  }
  return plan;
}

}  // namespace

void register_separable(py::module_& m) {
  m.def("separable3d_workspace", [](const std::array<Axis, 3>& axes, int threads) {
    return DAL_DISPATCH(separable3d_workspace, plan_of(axes, 0, 0), threads);
  });
  m.def("separable3d", [](address x, int kind, const std::array<Axis, 3>& axes, address out,
                          int64_t stride_d, int64_t stride_h, address workspace, int threads) {
    const Separable plan = plan_of(axes, stride_d, stride_h);
    py::gil_scoped_release nogil;
    DAL_DISPATCH(separable3d, pointer<void>(x), Voxel(kind), plan, pointer<float>(out),
                 pointer<void>(workspace), threads);
  });
}

}  // namespace cpu
}  // namespace dal
