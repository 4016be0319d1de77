// The stages from a scan to its pseudo-healthy image, on the CPU; their headers say what every argument is.
#pragma once
#include <pybind11/stl.h>

#include <array>

#include "bindings.h"
#include "chain/grid.h"
#include "nearby/nearby.h"
#include "recouple/recouple.h"
#include "spread/spread.h"
#include "tissue/tissue.h"

namespace dal {

using Sides = const std::array<int64_t, 3>&;
inline Shape shape_of(Sides sides) { return {sides[0], sides[1], sides[2]}; }

inline void register_nearby(py::module_& m) {
  m.def(
      "highest_nearby_workspace",
      [](Sides shape, Where where) {
        return DAL_DISPATCH(highest_nearby_workspace, shape_of(shape), where);
      },
      py::kw_only(), "shape"_a, "where"_a);
  m.def(
      "highest_nearby",
      [](address x, address mask, float sign, address out, Sides shape, address workspace, Where where) {
        DAL_DISPATCH(highest_nearby, pointer<float>(x), pointer<uint8_t>(mask), sign, pointer<float>(out),
                     shape_of(shape), pointer<void>(workspace), where);
      },
      py::kw_only(), "x"_a, "mask"_a, "sign"_a, "out"_a, "shape"_a, "workspace"_a, "where"_a, NoGil());
}

inline void register_spread(py::module_& m) {
  m.def(
      "usual_spread_workspace",
      [](int64_t voxels, Where where) { return DAL_DISPATCH(usual_spread_workspace, voxels, where); },
      py::kw_only(), "voxels"_a, "where"_a);
  m.def(
      "usual_spread",
      [](address x, address phi, address p, address mask, int64_t tissues, int64_t voxels, address out,
         address spreads, address workspace, Where where) {
        DAL_DISPATCH(usual_spread, pointer<float>(x), pointer<float>(phi), pointer<float>(p),
                     pointer<uint8_t>(mask), tissues, voxels, SpreadSettings{}, pointer<float>(out),
                     pointer<float>(spreads), pointer<void>(workspace), where);
      },
      py::kw_only(), "x"_a, "phi"_a, "p"_a, "mask"_a, "tissues"_a, "voxels"_a, "out"_a, "spreads"_a,
      "workspace"_a, "where"_a, NoGil());
}

inline Atlas atlas_of(address values, int64_t tissues, Sides sides) {
  return {pointer<float>(values), tissues, shape_of(sides)};
}

inline void register_tissue(py::module_& m) {
  m.def(
      "lay_atlas_workspace",
      [](int64_t tissues, Sides atlas_shape, Sides shape, Where where) {
        return DAL_DISPATCH(lay_atlas_workspace, atlas_of(0, tissues, atlas_shape), shape_of(shape), where);
      },
      py::kw_only(), "tissues"_a, "atlas_shape"_a, "shape"_a, "where"_a);
  m.def(
      "lay_atlas",
      [](address atlas, int64_t tissues, Sides atlas_shape, address mask, Sides shape, address out,
         address workspace, Where where) {
        DAL_DISPATCH(lay_atlas, atlas_of(atlas, tissues, atlas_shape), pointer<uint8_t>(mask),
                     shape_of(shape), pointer<float>(out), pointer<void>(workspace), where);
      },
      py::kw_only(), "atlas"_a, "tissues"_a, "atlas_shape"_a, "mask"_a, "shape"_a, "out"_a, "workspace"_a,
      "where"_a, NoGil());
  m.def(
      "tissue_evidence_workspace",
      [](int64_t tissues, Sides atlas_shape, Sides shape, Where where) {
        return DAL_DISPATCH(tissue_evidence_workspace, atlas_of(0, tissues, atlas_shape), shape_of(shape),
                            EvidenceSettings{}.step, where);
      },
      py::kw_only(), "tissues"_a, "atlas_shape"_a, "shape"_a, "where"_a);
  m.def(
      "tissue_evidence",
      [](address x, address mask, address atlas, int64_t tissues, Sides atlas_shape, Sides shape,
         address out, address means, address spreads, address workspace, Where where) {
        DAL_DISPATCH(tissue_evidence, pointer<float>(x), pointer<uint8_t>(mask),
                     atlas_of(atlas, tissues, atlas_shape), shape_of(shape), EvidenceSettings{},
                     pointer<float>(out), pointer<float>(means), pointer<float>(spreads),
                     pointer<void>(workspace), where);
      },
      py::kw_only(), "x"_a, "mask"_a, "atlas"_a, "tissues"_a, "atlas_shape"_a, "shape"_a, "out"_a,
      "means"_a, "spreads"_a, "workspace"_a, "where"_a, NoGil());
  m.def(
      "tissue_probabilities",
      [](address evidence, address output, address mask, int64_t tissues, int64_t voxels, address logits,
         address p, address fluid, Where where) {
        DAL_DISPATCH(tissue_probabilities, pointer<float>(evidence), pointer<float>(output),
                     pointer<uint8_t>(mask), tissues, voxels, CombineSettings{}, pointer<float>(logits),
                     pointer<float>(p), pointer<float>(fluid), where);
      },
      py::kw_only(), "evidence"_a, "output"_a, "mask"_a, "tissues"_a, "voxels"_a, "logits"_a, "p"_a,
      "fluid"_a, "where"_a, NoGil());
}

inline void register_recouple(py::module_& m) {
  m.def(
      "closed_form_workspace",
      [](Sides shape, int64_t tissues, Where where) {
        return DAL_DISPATCH(closed_form_workspace, shape_of(shape), tissues, RecoupleSettings{}, where);
      },
      py::kw_only(), "shape"_a, "tissues"_a, "where"_a);
  m.def(
      "closed_form",
      [](address x, address p, address mask, int64_t tissues, Sides shape, address image, address bias,
         address means, address workspace, Where where) {
        DAL_DISPATCH(closed_form, pointer<float>(x), pointer<float>(p), pointer<uint8_t>(mask), tissues,
                     shape_of(shape), RecoupleSettings{}, pointer<float>(image), pointer<float>(bias),
                     pointer<float>(means), pointer<void>(workspace), where);
      },
      py::kw_only(), "x"_a, "p"_a, "mask"_a, "tissues"_a, "shape"_a, "image"_a, "bias"_a, "means"_a,
      "workspace"_a, "where"_a, NoGil());
}

using Matrix = const std::array<double, 16>&;
inline SourceGrid source_of(Sides size, Sides stride, Matrix affine) {
  SourceGrid grid{{size[0], size[1], size[2]}, {stride[0], stride[1], stride[2]}, {}};
  for (size_t i = 0; i < affine.size(); ++i) grid.affine[i] = affine[i];
  return grid;
}

// Planning takes microseconds: Python does it anew for the size and for the work.
inline void register_grid(py::module_& m) {
  m.def(
      "plan_model_grid",
      [](Sides size, Sides stride, Matrix affine, address mask, double voxel_mm) -> py::object {
        ModelGrid grid{};
        GridSettings settings;
        settings.voxel_mm = voxel_mm;
        if (!plan_model_grid(source_of(size, stride, affine), pointer<uint8_t>(mask), settings, &grid))
          return py::none();
        py::list of;
        for (const double value : grid.affine) of.append(value);
        return py::make_tuple(py::make_tuple(grid.shape.depth, grid.shape.height, grid.shape.width), of);
      },
      py::kw_only(), "size"_a, "stride"_a, "affine"_a, "mask"_a, "voxel_mm"_a);
  m.def(
      "resample_workspace",
      [](Sides size, Sides stride, Matrix affine, Sides shape, Matrix target_affine, bool nearest,
         Where where) {
        return resample_workspace(plan_resampling(source_of(size, stride, affine), shape_of(shape),
                                                  target_affine.data(), nearest),
                                  where);
      },
      py::kw_only(), "size"_a, "stride"_a, "affine"_a, "shape"_a, "target_affine"_a, "nearest"_a,
      "where"_a);
  m.def(
      "resample",
      [](address x, int kind, Sides size, Sides stride, Matrix affine, Sides shape, Matrix target_affine,
         bool nearest, address out, address workspace, Where where) {
        resample(plan_resampling(source_of(size, stride, affine), shape_of(shape), target_affine.data(),
                                 nearest),
                 pointer<void>(x), Voxel(kind), pointer<float>(out), pointer<void>(workspace), where);
      },
      py::kw_only(), "x"_a, "kind"_a, "size"_a, "stride"_a, "affine"_a, "shape"_a, "target_affine"_a,
      "nearest"_a, "out"_a, "workspace"_a, "where"_a, NoGil());
}

inline void register_image_stages(py::module_& m) {
  register_nearby(m);
  register_spread(m);
  register_tissue(m);
  register_recouple(m);
  register_grid(m);
}

}  // namespace dal
