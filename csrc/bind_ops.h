// The ops' functions for one engine, see bindings.h. The structs that they take are registered once, in
// module.cpp; kernels/<op>/<op>.h says what every argument is.
#pragma once
#include "bindings.h"
#include "canny3d/canny3d.h"
#include "components3d/components3d.h"
#include "median3d/median3d.h"
#include "onehot/onehot.h"
#include "ssim_l1/ssim_l1.h"
#include "tfce3d/tfce3d.h"
#include "voxel_metrics/voxel_metrics.h"

namespace dal {
namespace DAL_ENGINE {

inline void register_canny3d(py::module_& m) {
  m.def(
      "canny3d_workspace",
      [](const CannyInput& input, int64_t radius, [[maybe_unused]] Where where) {
        return DAL_SIZE(canny3d_workspace, where, input, radius);
      },
      py::kw_only(), "input"_a, "radius"_a, "where"_a);
  m.def(
      "canny3d",
      [](const CannyInput& input, const CannyParameters& parameters, address workspace, address edges,
         Where where) {
        DAL_CALL(canny3d, where, input, parameters, pointer<void>(workspace), pointer<uint8_t>(edges));
      },
      py::kw_only(), "input"_a, "parameters"_a, "workspace"_a, "edges"_a, "where"_a, NoGil());
}

inline void register_components3d(py::module_& m) {
  using Shape = const Components3dShape&;
  m.def(
      "components3d_workspace",
      [](Shape shape, [[maybe_unused]] Where where) {
        return DAL_SIZE(components3d_workspace, where, shape);
      },
      py::kw_only(), "shape"_a, "where"_a);
  m.def(
      "components3d",
      [](address mask, address labels, address workspace, Shape shape, Where where) {
        DAL_CALL(components3d, where, pointer<uint8_t>(mask), pointer<int32_t>(labels),
                 pointer<void>(workspace), shape);
      },
      py::kw_only(), "mask"_a, "labels"_a, "workspace"_a, "shape"_a, "where"_a, NoGil());
  m.def(
      "remove_small",
      [](address mask, address out, address workspace, Shape shape, int64_t min_voxels, Where where) {
        DAL_CALL(remove_small, where, pointer<uint8_t>(mask), pointer<uint8_t>(out),
                 pointer<void>(workspace), shape, min_voxels);
      },
      py::kw_only(), "mask"_a, "out"_a, "workspace"_a, "shape"_a, "min_voxels"_a, "where"_a, NoGil());
}

inline void register_median3d(py::module_& m) {
  using Shape = const Median3dShape&;
  m.def(
      "median3d_workspace",
      [](Shape shape, int dtype, [[maybe_unused]] Where where) {
        return DAL_SIZE(median3d_workspace, where, shape, DType(dtype));
      },
      py::kw_only(), "shape"_a, "dtype"_a, "where"_a);
  m.def(
      "median3d",
      [](address x, address mask, address out, address workspace, Shape shape, int dtype, Where where) {
        DAL_CALL(median3d, where, pointer<void>(x), pointer<uint8_t>(mask), pointer<void>(out),
                 pointer<void>(workspace), shape, DType(dtype));
      },
      py::kw_only(), "x"_a, "mask"_a, "out"_a, "workspace"_a, "shape"_a, "dtype"_a, "where"_a, NoGil());
}

inline void register_onehot(py::module_& m) {
  using Shape = const OnehotShape&;
  m.def(
      "onehot_forward",
      [](address logits, address levels, address mask, address out, Shape shape, int dtype, Where where) {
        DAL_CALL(onehot_forward, where, pointer<void>(logits), pointer<double>(levels),
                 pointer<uint8_t>(mask), pointer<void>(out), shape, DType(dtype));
      },
      py::kw_only(), "logits"_a, "levels"_a, "mask"_a, "out"_a, "shape"_a, "dtype"_a, "where"_a, NoGil());
  m.def(
      "onehot_backward",
      [](address logits, address grad_out, address levels, address mask, address grad_logits, Shape shape,
         double temperature, int dtype, Where where) {
        DAL_CALL(onehot_backward, where, pointer<void>(logits), pointer<void>(grad_out),
                 pointer<double>(levels), pointer<uint8_t>(mask), pointer<void>(grad_logits), shape,
                 temperature, DType(dtype));
      },
      py::kw_only(), "logits"_a, "grad_out"_a, "levels"_a, "mask"_a, "grad_logits"_a, "shape"_a,
      "temperature"_a, "dtype"_a, "where"_a, NoGil());
}

// The problem comes without its workspace, whose size depends on it.
inline SsimProblem with_workspace(SsimProblem problem, address workspace) {
  problem.workspace = pointer<void>(workspace);
  return problem;
}

inline void register_ssim_l1(py::module_& m) {
  using Problem = const SsimProblem&;
  m.def(
      "ssim_workspace",
      [](Problem problem, [[maybe_unused]] Where where) {
        return DAL_SIZE(ssim_workspace, where, problem);
      },
      py::kw_only(), "problem"_a, "where"_a);
  m.def(
      "ssim_map",
      [](address x, address y, address out, bool hybrid, Problem problem, address workspace, Where where) {
        DAL_CALL(ssim_map, where, pointer<void>(x), pointer<void>(y), pointer<void>(out), hybrid,
                 with_workspace(problem, workspace));
      },
      py::kw_only(), "x"_a, "y"_a, "out"_a, "hybrid"_a, "problem"_a, "workspace"_a, "where"_a, NoGil());
  m.def(
      "ssim_sums",
      [](address x, address y, address sums, address fields, Problem problem, address workspace,
         Where where) {
        DAL_CALL(ssim_sums, where, pointer<void>(x), pointer<void>(y), pointer<double>(sums),
                 pointer<void>(fields), with_workspace(problem, workspace));
      },
      py::kw_only(), "x"_a, "y"_a, "sums"_a, "fields"_a, "problem"_a, "workspace"_a, "where"_a, NoGil());
  m.def(
      "ssim_fields",
      [](address x, address y, address grad, address fields, Problem problem, address workspace,
         Where where) {
        DAL_CALL(ssim_fields, where, pointer<void>(x), pointer<void>(y), pointer<void>(grad),
                 pointer<void>(fields), with_workspace(problem, workspace));
      },
      py::kw_only(), "x"_a, "y"_a, "grad"_a, "fields"_a, "problem"_a, "workspace"_a, "where"_a, NoGil());
  m.def(
      "ssim_backward",
      [](address x, address y, address fields, address upstream, double scale, double l1, address grad_x,
         address grad_y, Problem problem, address workspace, Where where) {
        DAL_CALL(ssim_backward, where, pointer<void>(x), pointer<void>(y), pointer<void>(fields),
                 pointer<double>(upstream), scale, l1, pointer<void>(grad_x), pointer<void>(grad_y),
                 with_workspace(problem, workspace));
      },
      py::kw_only(), "x"_a, "y"_a, "fields"_a, "upstream"_a, "scale"_a, "l1"_a, "grad_x"_a, "grad_y"_a,
      "problem"_a, "workspace"_a, "where"_a, NoGil());
}

#ifdef DAL_BIND_CUDA
inline void register_tfce3d(py::module_& m) {
  using Problem = const Tfce3dProblem&;
  m.def("tfce3d_workspace", &tfce3d_workspace, py::kw_only(), "problem"_a);
  m.def(
      "tfce3d_branches",
      [](address x, address order, address branches, address workspace, Problem problem, int dtype,
         Where where) {
        DAL_CALL(tfce3d_branches, where, pointer<void>(x), pointer<int64_t>(order),
                 pointer<int32_t>(branches), pointer<void>(workspace), problem, DType(dtype));
      },
      py::kw_only(), "x"_a, "order"_a, "branches"_a, "workspace"_a, "problem"_a, "dtype"_a, "where"_a,
      NoGil());
  m.def(
      "tfce3d_sums",
      [](address x, address order, address branches, address ranks, address out, address workspace,
         Problem problem, int dtype, Where where) {
        DAL_CALL(tfce3d_sums, where, pointer<void>(x), pointer<int64_t>(order), pointer<int32_t>(branches),
                 pointer<int64_t>(ranks), pointer<void>(out), pointer<void>(workspace), problem,
                 DType(dtype));
      },
      py::kw_only(), "x"_a, "order"_a, "branches"_a, "ranks"_a, "out"_a, "workspace"_a, "problem"_a,
      "dtype"_a, "where"_a, NoGil());
}
#else
inline void register_tfce3d(py::module_& m) {
  using Problem = const Tfce3dProblem&;
  m.def(
      "tfce3d_workspace",
      [](Problem problem, int dtype, Where where) {
        return DAL_SIZE(tfce3d_workspace, where, problem, DType(dtype));
      },
      py::kw_only(), "problem"_a, "dtype"_a, "where"_a);
  m.def(
      "tfce3d",
      [](address x, address mask, address out, address workspace, Problem problem, int dtype, Where where) {
        DAL_CALL(tfce3d, where, pointer<void>(x), pointer<uint8_t>(mask), pointer<void>(out),
                 pointer<void>(workspace), problem, DType(dtype));
      },
      py::kw_only(), "x"_a, "mask"_a, "out"_a, "workspace"_a, "problem"_a, "dtype"_a, "where"_a, NoGil());
}
#endif

inline void register_voxel_metrics(py::module_& m) {
  m.def(
      "score_histogram_workspace",
      [](int64_t bins, [[maybe_unused]] Where where) {
        return DAL_SIZE(score_histogram_workspace, where, bins);
      },
      py::kw_only(), "bins"_a, "where"_a);
  m.def(
      "score_pages",
      [](address score, address mask, int64_t voxels, address pages, address nans, int dtype, Where where) {
        DAL_CALL(score_pages, where, pointer<void>(score), pointer<uint8_t>(mask), voxels,
                 pointer<uint8_t>(pages), pointer<int64_t>(nans), DType(dtype));
      },
      py::kw_only(), "score"_a, "mask"_a, "voxels"_a, "pages"_a, "nans"_a, "dtype"_a, "where"_a, NoGil());
  m.def(
      "score_histogram",
      [](address score, address target, address mask, int64_t voxels, const ScoreBins& bins,
         int64_t segment, address workspace, address counts, address span, int dtype, Where where) {
        DAL_CALL(score_histogram, where, pointer<void>(score), pointer<uint8_t>(target),
                 pointer<uint8_t>(mask), voxels, bins, segment, pointer<void>(workspace),
                 pointer<int64_t>(counts), pointer<int64_t>(span), DType(dtype));
      },
      py::kw_only(), "score"_a, "target"_a, "mask"_a, "voxels"_a, "bins"_a, "segment"_a, "workspace"_a,
      "counts"_a, "span"_a, "dtype"_a, "where"_a, NoGil());
}

inline void register_ops(py::module_& m) {
  register_onehot(m);
  register_ssim_l1(m);
  register_canny3d(m);
  register_median3d(m);
  register_components3d(m);
  register_tfce3d(m);
  register_voxel_metrics(m);
}

}  // namespace DAL_ENGINE
}  // namespace dal
