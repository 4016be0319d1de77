// The stages from a pseudo-healthy image to the anomaly map and its regions, and those beside the brain
// extraction's network, on the CPU; their headers say what every argument is.
#pragma once
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "bind_image.h"
#include "chain/anomaly.h"
#include "chain/enhance.h"
#include "chain/evidence.h"
#include "chain/regions.h"
#include "chain/topmean.h"
#include "pages.h"

namespace dal {

inline void register_evidence(py::module_& m) {
  m.def(
      "residual_evidence_workspace",
      [](Sides shape, Where where) { return residual_evidence_workspace(shape_of(shape), where); },
      py::kw_only(), "shape"_a, "where"_a);
  m.def(
      "residual_evidence",
      [](const Compared& scan, address p, address out, Sides shape, address workspace, Where where) {
        const int64_t voxels = shape_of(shape).voxels();
        prefer_huge_pages(pointer<float>(out), size_t(kResidualChannels * voxels) * sizeof(float), where);
        residual_evidence(scan, pointer<float>(p), pointer<float>(out), shape_of(shape),
                          pointer<void>(workspace), where);
      },
      py::kw_only(), "scan"_a, "p"_a, "out"_a, "shape"_a, "workspace"_a, "where"_a, NoGil());
  m.def(
      "abnormal_probability",
      [](address logit, address mask, address out, Sides shape, Where where) {
        abnormal_probability(pointer<float>(logit), pointer<uint8_t>(mask), pointer<float>(out),
                             shape_of(shape), where);
      },
      py::kw_only(), "logit"_a, "mask"_a, "out"_a, "shape"_a, "where"_a, NoGil());
}

inline void register_enhance(py::module_& m) {
  m.def(
      "structural_difference_workspace",
      [](Sides shape, Where where) {
        return structural_difference_workspace(shape_of(shape), EnhanceSettings{}, where);
      },
      py::kw_only(), "shape"_a, "where"_a);
  m.def(
      "structural_difference",
      [](address x, address phi, address fluid, address mask, address out, Sides shape, address workspace,
         Where where) {
        structural_difference(pointer<float>(x), pointer<float>(phi), pointer<float>(fluid),
                              pointer<uint8_t>(mask), EnhanceSettings{}, pointer<float>(out),
                              shape_of(shape), pointer<void>(workspace), where);
      },
      py::kw_only(), "x"_a, "phi"_a, "fluid"_a, "mask"_a, "out"_a, "shape"_a, "workspace"_a, "where"_a,
      NoGil());
  m.def(
      "enhanced_workspace",
      [](Sides shape, Where where) {
        return enhanced_workspace(shape_of(shape), EnhanceSettings{}, where);
      },
      py::kw_only(), "shape"_a, "where"_a);
  m.def(
      "enhanced",
      [](const Compared& scan, address structure, address evidence, const Signed& sign, address out,
         Sides shape, address workspace, Where where) {
        enhanced(scan, pointer<float>(structure), pointer<float>(evidence), sign, EnhanceSettings{},
                 pointer<float>(out), shape_of(shape), pointer<void>(workspace), where);
      },
      py::kw_only(), "scan"_a, "structure"_a, "evidence"_a, "sign"_a, "out"_a, "shape"_a, "workspace"_a,
      "where"_a, NoGil());
}

inline Calibrated calibrated(int contrast, const std::array<double, 2>& thresholds, address usual_structure,
                             const SignCalibration& bright, const SignCalibration& dark) {
  Calibrated all{Contrast(contrast)};
  all.structure = thresholds[0];
  all.combined = thresholds[1];
  all.usual_structure = pointer<float>(usual_structure);
  all.bright = bright;
  all.dark = dark;
  return all;
}

inline void register_anomaly(py::module_& m) {
  m.def(
      "anomaly_map_workspace",
      [](Sides shape, Where where) {
        return anomaly_map_workspace(shape_of(shape), EnhanceSettings{}, where);
      },
      py::kw_only(), "shape"_a, "where"_a);
  m.def(
      "anomaly_map",
      [](const Compared& scan, address evidence, int contrast, const std::array<double, 2>& thresholds,
         address usual_structure, const SignCalibration& bright, const SignCalibration& dark, address out,
         Sides shape, address workspace, Where where) {
        const SignsWeighed signs = anomaly_map(
            scan, pointer<float>(evidence), calibrated(contrast, thresholds, usual_structure, bright, dark),
            EnhanceSettings{}, WeighingSettings{}, pointer<float>(out), shape_of(shape),
            pointer<void>(workspace), where);
        return std::pair(std::array<double, 2>{signs.bright, signs.dark}, signs.shown);
      },
      py::kw_only(), "scan"_a, "evidence"_a, "contrast"_a, "thresholds"_a, "usual_structure"_a, "bright"_a,
      "dark"_a, "out"_a, "shape"_a, "workspace"_a, "where"_a, NoGil());
  m.def(
      "top_mean_workspace", [](int64_t voxels, double share) { return top_mean_workspace(voxels, share); },
      py::kw_only(), "voxels"_a, "share"_a);
  m.def(
      "top_mean",
      [](address x, address mask, int64_t voxels, double share, address workspace) {
        return top_mean(pointer<float>(x), pointer<uint8_t>(mask), voxels, pointer<void>(workspace), share);
      },
      py::kw_only(), "x"_a, "mask"_a, "voxels"_a, "share"_a, "workspace"_a, NoGil());
  m.def(
      "tissue_labels",
      [](address p, address mask, address out, int64_t voxels, Where where) {
        DAL_DISPATCH(tissue_labels, pointer<float>(p), pointer<uint8_t>(mask), pointer<uint8_t>(out),
                     voxels, where);
      },
      py::kw_only(), "p"_a, "mask"_a, "out"_a, "voxels"_a, "where"_a, NoGil());
}

inline void register_regions(py::module_& m) {
  m.def(
      "least_voxels",  // of a region, on the grid of an affine
      [](const std::array<double, 16>& affine) { return least_voxels(voxel_ml(affine.data())); },
      py::kw_only(), "affine"_a);
  m.def(
      "anomaly_mask_workspace",
      [](Sides shape, Where where) { return anomaly_mask_workspace(shape_of(shape), where); },
      py::kw_only(), "shape"_a, "where"_a);
  m.def(
      "anomaly_mask",
      [](address anomaly, float threshold, int64_t least, address out, Sides shape, address workspace,
         Where where) {
        anomaly_mask(pointer<float>(anomaly), threshold, least, pointer<uint8_t>(out), shape_of(shape),
                     pointer<void>(workspace), where);
      },
      py::kw_only(), "anomaly"_a, "threshold"_a, "least"_a, "out"_a, "shape"_a, "workspace"_a, "where"_a,
      NoGil());
  m.def(
      "region_table_workspace",
      [](Sides shape, int64_t least, Where where) {
        return region_table_workspace(shape_of(shape), least, where);
      },
      py::kw_only(), "shape"_a, "least"_a, "where"_a);
  // (volume_ml, peak, mean, centre) of every region, at most `capacity`, and how many there are
  m.def(
      "region_table",
      [](address anomaly, address mask, const std::array<double, 16>& affine, int64_t least,
         int64_t capacity, Sides shape, address workspace, Where where) {
        std::vector<Region> found(static_cast<size_t>(capacity));
        int64_t count = 0;
        {
          const py::gil_scoped_release released;
          count = region_table(pointer<float>(anomaly), pointer<uint8_t>(mask), affine.data(), least,
                               found.data(), capacity, shape_of(shape), pointer<void>(workspace), where);
        }
        py::list rows;
        for (int64_t i = 0; i < std::min(count, capacity); ++i) {
          const Region& r = found[static_cast<size_t>(i)];
          rows.append(py::make_tuple(r.volume_ml, r.peak, r.mean,
                                     py::make_tuple(r.centre[0], r.centre[1], r.centre[2])));
        }
        return std::pair(rows, count);
      },
      py::kw_only(), "anomaly"_a, "mask"_a, "affine"_a, "least"_a, "capacity"_a, "shape"_a, "workspace"_a,
      "where"_a);
}

inline void register_map_stages(py::module_& module, py::module_& m) {
  register_struct<Compared>(module, "Compared",
                            {DAL_FIELD(Compared, x), DAL_FIELD(Compared, phi), DAL_FIELD(Compared, fluid),
                             DAL_FIELD(Compared, highest), DAL_FIELD(Compared, lowest),
                             DAL_FIELD(Compared, spread), DAL_FIELD(Compared, mask)});
  register_struct<Signed>(module, "Signed",
                          {DAL_FIELD(Signed, sign), DAL_FIELD(Signed, smoothed), DAL_FIELD(Signed, level),
                           DAL_FIELD(Signed, usual)});
  register_struct<SignCalibration>(
      module, "SignCalibration",
      {DAL_FIELD(SignCalibration, threshold), DAL_FIELD(SignCalibration, peak),
       DAL_FIELD(SignCalibration, peak_sd), DAL_FIELD(SignCalibration, usual)});
  register_evidence(m);
  register_enhance(m);
  register_anomaly(m);
  register_regions(m);
}

}  // namespace dal
