// The stages beside the brain extraction's network, on the CPU; their headers say what every argument is.
#pragma once
#include <pybind11/stl.h>

#include <array>
#include <tuple>

#include "bind_image.h"
#include "chain/brain.h"
#include "chain/head.h"

namespace dal {

using Matrix = const std::array<double, 16>&;

inline HeadCover cover_of(Sides sides, Matrix affine) {
  HeadCover cover{{sides[0], sides[1], sides[2]}, {}};
  for (size_t i = 0; i < 16; ++i) cover.affine[i] = affine[i];
  return cover;
}

inline void register_head(py::module_& m) {
  m.def(
      "cover_head",  // sides and affine of the grid over the whole scan
      [](Sides scan_shape, Matrix scan_affine, double voxel_mm) {
        const HeadCover cover = cover_head(scan_shape.data(), scan_affine.data(), voxel_mm);
        std::array<double, 16> affine;
        for (size_t i = 0; i < 16; ++i) affine[i] = cover.affine[i];
        return std::pair(std::array<int64_t, 3>{cover.sides[0], cover.sides[1], cover.sides[2]}, affine);
      },
      py::kw_only(), "scan_shape"_a, "scan_affine"_a, "voxel_mm"_a);
  m.def(
      "place_head_workspace",
      [](Sides sides, Sides shape) { return place_head_workspace(cover_of(sides, {}), shape_of(shape)); },
      py::kw_only(), "sides"_a, "shape"_a);
  m.def(
      "place_head",  // the affine of the network's volume
      [](address whole, Sides sides, Matrix affine, double voxel_mm, Sides shape, address out,
         address workspace, Where where) {
        std::array<double, 16> placed;
        place_head(pointer<float>(whole), cover_of(sides, affine), voxel_mm, shape_of(shape),
                   pointer<float>(out), placed.data(), pointer<void>(workspace), where);
        return placed;
      },
      py::kw_only(), "whole"_a, "sides"_a, "affine"_a, "voxel_mm"_a, "shape"_a, "out"_a, "workspace"_a,
      "where"_a);
  m.def(
      "distance_to_faces",
      [](Matrix affine, Sides shape, Sides scan_shape, Matrix scan_affine, address out) {
        distance_to_faces(affine.data(), shape_of(shape), scan_shape.data(), scan_affine.data(),
                          pointer<float>(out));
      },
      py::kw_only(), "affine"_a, "shape"_a, "scan_shape"_a, "scan_affine"_a, "out"_a);
}

inline void register_brain(py::module_& m) {
  m.def(
      "brain_distance_workspace",
      [](Sides shape, Where where) { return brain_distance_workspace(shape_of(shape), where); },
      py::kw_only(), "shape"_a, "where"_a);
  m.def(
      // any, confidence, agreement, sharpness, sphericity, symmetry, unusual, cut
      "brain_distance",
      [](address first, address mirrored, address faces, double voxel_mm, address clean, Sides shape,
         address workspace, Where where) {
        const BrainFound f =
            brain_distance(pointer<float>(first), pointer<float>(mirrored), pointer<float>(faces), voxel_mm,
                           pointer<float>(clean), shape_of(shape), pointer<void>(workspace), where);
        return std::make_tuple(f.any, f.confidence, f.agreement, f.sharpness, f.sphericity, f.symmetry,
                               f.unusual, f.cut);
      },
      py::kw_only(), "first"_a, "mirrored"_a, "faces"_a, "voxel_mm"_a, "clean"_a, "shape"_a, "workspace"_a,
      "where"_a);
  m.def(
      "judge_brain",  // a BrainVerdict
      [](double confidence, double sphericity, uint32_t unusual, bool cut, double millilitres) {
        BrainFound found{};
        found.any = true;
        found.confidence = confidence, found.sphericity = sphericity;
        found.unusual = unusual, found.cut = cut;
        return int(judge_brain(found, millilitres));
      },
      py::kw_only(), "confidence"_a, "sphericity"_a, "unusual"_a, "cut"_a, "millilitres"_a);
}

inline void register_brain_stages(py::module_& m) {
  register_head(m);
  register_brain(m);
}

}  // namespace dal
