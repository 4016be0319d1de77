// The stages from a scan to its pseudo-healthy image, on the CPU; their headers say what every argument is.
#pragma once
#include <pybind11/stl.h>

#include <array>

#include "bindings.h"
#include "nearby/nearby.h"
#include "spread/spread.h"

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

inline void register_image_stages(py::module_& m) {
  register_nearby(m);
  register_spread(m);
}

}  // namespace dal
