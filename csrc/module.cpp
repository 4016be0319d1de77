// The module _C: what steers the kernels, the structs that they take, and the CPU's functions.
#include <pybind11/stl.h>

#include <array>
#include <stdexcept>

#include "bind_brain.h"
#include "bind_image.h"
#include "bind_map.h"
#include "bind_ops.h"
#include "bind_screen.h"
#include "oblique/oblique.h"
#include "selection/selection.h"
#include "separable/separable.h"

namespace dal {
namespace {

Isa parse_isa(const std::string& name) {
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512})
    if (name == isa_name(isa)) return isa;
  throw std::invalid_argument("unknown instruction set '" + name + "': choose portable, avx2 or avx512");
}

void register_isa(py::module_& m) {
  m.def("current_isa", [] { return isa_name(current_isa()); });
  m.def("set_isa", [](const std::string& name) { set_isa(parse_isa(name)); });
  m.def("supported_isas", [] {
    py::list names;
    for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512})
      if (isa_supported(isa)) names.append(isa_name(isa));
    return names;
  });
}

void register_structs(py::module_& m) {
  register_struct<OnehotShape>(
      m, "OnehotShape",
      {DAL_FIELD(OnehotShape, batch), DAL_FIELD(OnehotShape, classes), DAL_FIELD(OnehotShape, voxels)});
  register_struct<SsimProblem>(
      m, "SsimProblem",
      {DAL_FIELD(SsimProblem, volumes), DAL_FIELD(SsimProblem, depth), DAL_FIELD(SsimProblem, height),
       DAL_FIELD(SsimProblem, width), DAL_FIELD(SsimProblem, weights), DAL_FIELD(SsimProblem, radius),
       DAL_FIELD(SsimProblem, c1), DAL_FIELD(SsimProblem, c2), DAL_FIELD(SsimProblem, dtype)});
  register_struct<CannyInput>(
      m, "CannyInput",
      {DAL_FIELD(CannyInput, values), DAL_FIELD(CannyInput, levels), DAL_FIELD(CannyInput, mask),
       DAL_FIELD(CannyInput, batch), DAL_FIELD(CannyInput, channels), DAL_FIELD(CannyInput, depth),
       DAL_FIELD(CannyInput, height), DAL_FIELD(CannyInput, width), DAL_FIELD(CannyInput, dtype)});
  register_struct<CannyParameters>(m, "CannyParameters",
                                   {DAL_FIELD(CannyParameters, taps), DAL_FIELD(CannyParameters, radius),
                                    DAL_FIELD(CannyParameters, low), DAL_FIELD(CannyParameters, high)});
  register_struct<Median3dShape>(
      m, "Median3dShape",
      {DAL_FIELD(Median3dShape, batch), DAL_FIELD(Median3dShape, channels), DAL_FIELD(Median3dShape, depth),
       DAL_FIELD(Median3dShape, height), DAL_FIELD(Median3dShape, width), DAL_FIELD(Median3dShape, size)});
  register_struct<Tfce3dProblem>(
      m, "Tfce3dProblem",
      {DAL_FIELD(Tfce3dProblem, volumes), DAL_FIELD(Tfce3dProblem, depth), DAL_FIELD(Tfce3dProblem, height),
       DAL_FIELD(Tfce3dProblem, width), DAL_FIELD(Tfce3dProblem, connectivity),
       DAL_FIELD(Tfce3dProblem, extent_power), DAL_FIELD(Tfce3dProblem, height_power)});
  register_struct<Components3dShape>(
      m, "Components3dShape",
      {DAL_FIELD(Components3dShape, volumes), DAL_FIELD(Components3dShape, depth),
       DAL_FIELD(Components3dShape, height), DAL_FIELD(Components3dShape, width),
       DAL_FIELD(Components3dShape, connectivity)});
  register_struct<ScoreBins>(
      m, "ScoreBins",
      {DAL_FIELD(ScoreBins, base), DAL_FIELD(ScoreBins, shift), DAL_FIELD(ScoreBins, bins)});
  register_struct<AxisTaps>(
      m, "AxisTaps",
      {DAL_FIELD(AxisTaps, index), DAL_FIELD(AxisTaps, weight), DAL_FIELD(AxisTaps, taps),
       DAL_FIELD(AxisTaps, count), DAL_FIELD(AxisTaps, size), DAL_FIELD(AxisTaps, stride)});
  register_struct<ObliqueAxis>(
      m, "ObliqueAxis",
      {DAL_FIELD(ObliqueAxis, size), DAL_FIELD(ObliqueAxis, stride), DAL_FIELD(ObliqueAxis, offset),
       DAL_FIELD(ObliqueAxis, step_d), DAL_FIELD(ObliqueAxis, step_h), DAL_FIELD(ObliqueAxis, step_w)});
}

// Resampling has no GPU half.
void register_separable(py::module_& m) {
  using Axes = const std::array<AxisTaps, 3>&;
  m.def(
      "separable3d_workspace",
      [](Axes axes, Where where) {
        return DAL_DISPATCH(separable3d_workspace, Separable{{axes[0], axes[1], axes[2]}, 0, 0}, where);
      },
      py::kw_only(), "axes"_a, "where"_a);
  m.def(
      "separable3d",
      [](address x, int kind, Axes axes, int64_t stride_d, int64_t stride_h, address out, address workspace,
         Where where) {
        const Separable plan{{axes[0], axes[1], axes[2]}, stride_d, stride_h};
        DAL_DISPATCH(separable3d, pointer<void>(x), Voxel(kind), plan, pointer<float>(out),
                     pointer<void>(workspace), where);
      },
      py::kw_only(), "x"_a, "kind"_a, "axes"_a, "stride_d"_a, "stride_h"_a, "out"_a, "workspace"_a,
      "where"_a, NoGil());
}

void register_oblique(py::module_& m) {
  m.def(
      "oblique3d",
      [](address x, int kind, const std::array<ObliqueAxis, 3>& axes, const std::array<int64_t, 3>& shape,
         int64_t stride_d, int64_t stride_h, bool nearest, address out, Where where) {
        const Oblique plan{
            {axes[0], axes[1], axes[2]}, shape[0], shape[1], shape[2], stride_d, stride_h, nearest};
        DAL_DISPATCH(oblique3d, pointer<void>(x), Voxel(kind), plan, pointer<float>(out), where);
      },
      py::kw_only(), "x"_a, "kind"_a, "axes"_a, "shape"_a, "stride_d"_a, "stride_h"_a, "nearest"_a, "out"_a,
      "where"_a, NoGil());
}

// Statistics of a scan that is on the CPU anyway.
void register_selection(py::module_& m) {
  m.def(
      "selection_workspace", [](Where where) { return selection_workspace(where); }, py::kw_only(),
      "where"_a);
  m.def(
      "selection_counts",
      [](address x, address mask, int64_t n, Where where) {
        const SelectionCounts counts =
            DAL_DISPATCH(selection_counts, pointer<float>(x), pointer<uint8_t>(mask), n, where);
        return std::array<int64_t, 3>{counts.inside, counts.negative, counts.positive};
      },
      py::kw_only(), "x"_a, "mask"_a, "n"_a, "where"_a, NoGil());
  m.def(
      "selection_kth",
      [](address x, address mask, int64_t n, int64_t k, bool positive, address workspace, Where where) {
        return DAL_DISPATCH(selection_kth, pointer<float>(x), pointer<uint8_t>(mask), n, k, positive,
                            pointer<void>(workspace), where);
      },
      py::kw_only(), "x"_a, "mask"_a, "n"_a, "k"_a, "positive"_a, "workspace"_a, "where"_a, NoGil());
}

}  // namespace
}  // namespace dal

PYBIND11_MODULE(_C, m) {
  m.doc() = "dal_fast's compiled kernels: raw addresses in, results in place";
  dal::register_isa(m);
  dal::register_structs(m);
  pybind11::module_ cpu = m.def_submodule("cpu", "the kernels on the CPU");
  dal::cpu::register_ops(cpu);
  dal::register_separable(cpu);
  dal::register_oblique(cpu);
  dal::register_selection(cpu);
  dal::register_image_stages(cpu);
  dal::register_map_stages(m, cpu);
  dal::register_brain_stages(cpu);
  dal::register_screen(m);
#ifdef DAL_WITH_CUDA
  pybind11::module_ cuda = m.def_submodule("cuda", "the same functions on a GPU");
  dal::register_cuda(cuda);
#endif
}
