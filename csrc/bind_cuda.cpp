// The GPU's half of the module: what there is to run on, and the ops.
#define DAL_BIND_CUDA
#include <string>

#include "bind_ops.h"
#include "boxmean/boxmean.h"
#include "instancenorm/instancenorm.h"
#include "nearby/nearby.h"
#include "residual/residual.h"
#include "selection/selection.h"

namespace dal {
namespace {

constexpr int kOldest = 80;  // compute capability of the oldest GPU that the kernels are built for

// Why nothing can run on `device`; empty when it can.
std::string why_not(int device) {
  int count = 0;
  const cudaError_t found = cudaGetDeviceCount(&count);
  if (found != cudaSuccess) {
    cudaGetLastError();  // not an error of the next call
    if (found == cudaErrorInsufficientDriver)
      return "there is no NVIDIA driver, or it is too old for CUDA " +
             std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
    return std::string("there is no CUDA device (") + cudaGetErrorString(found) + ")";
  }
  if (device >= count)
    return "there is no CUDA device " + std::to_string(device) + ", only " + std::to_string(count);
  int major = 0, minor = 0;
  cudaError_t asked = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (asked == cudaSuccess)
    asked = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  if (asked != cudaSuccess) {
    cudaGetLastError();
    return "CUDA device " + std::to_string(device) + " does not answer (" + cudaGetErrorString(asked) + ")";
  }
  if (10 * major + minor >= kOldest) return "";
  return "CUDA device " + std::to_string(device) + " has compute capability " + std::to_string(major) +
         "." + std::to_string(minor) + "; 8.0 is the oldest that the kernels are built for";
}

// What only a GPU has; a CPU selects from one volume at a time.
void register_row_medians(py::module_& m) {
  m.def("row_medians_workspace", &cuda::row_medians_workspace, py::kw_only(), "rows"_a, "n"_a);
  m.def(
      "row_medians",
      [](address x, int64_t rows, int64_t n, address medians, address workspace, Where where) {
        DAL_CALL(row_medians, where, pointer<float>(x), rows, n, pointer<float>(medians),
                 pointer<void>(workspace));
      },
      py::kw_only(), "x"_a, "rows"_a, "n"_a, "medians"_a, "workspace"_a, "where"_a, NoGil());
}

// The stages of the score, of several scans at a time.
void register_scoring(py::module_& m) {
  m.def(
      "highest_nearby",
      [](address x, address mask, float sign, address out, int64_t volumes, int64_t depth, int64_t height,
         int64_t width, Where where) {
        DAL_CALL(highest_nearby, where, pointer<float>(x), pointer<uint8_t>(mask), sign,
                 pointer<float>(out), volumes, Shape{depth, height, width});
      },
      py::kw_only(), "x"_a, "mask"_a, "sign"_a, "out"_a, "volumes"_a, "depth"_a, "height"_a, "width"_a,
      "where"_a, NoGil());
  m.def(
      "box_mean",
      [](address x, int64_t step, address out, int64_t volumes, int64_t depth, int64_t height,
         int64_t width, Where where) {
        DAL_CALL(box_mean, where, pointer<float>(x), step, pointer<float>(out), volumes,
                 Shape{depth, height, width});
      },
      py::kw_only(), "x"_a, "step"_a, "out"_a, "volumes"_a, "depth"_a, "height"_a, "width"_a, "where"_a,
      NoGil());
  m.def(
      "signed_residual",
      [](address x, address phi, address limit, address fluid, address spread, address usual, address mask,
         float sign, float usual_least, address out, int64_t voxels, Where where) {
        const cuda::Signs scans{pointer<float>(x),
                                pointer<float>(phi),
                                pointer<float>(limit),
                                pointer<float>(fluid),
                                pointer<float>(spread),
                                pointer<float>(usual),
                                pointer<uint8_t>(mask),
                                sign,
                                usual_least};
        DAL_CALL(signed_residual, where, scans, pointer<float>(out), voxels);
      },
      py::kw_only(), "x"_a, "phi"_a, "limit"_a, "fluid"_a, "spread"_a, "usual"_a, "mask"_a, "sign"_a,
      "usual_least"_a, "out"_a, "voxels"_a, "where"_a, NoGil());
  m.def(
      "cluster_heights",
      [](address r, address smooth, address structure, address evidence, address smoothed, float least,
         address out, int64_t volumes, int64_t voxels, Where where) {
        const cuda::Heights given{pointer<float>(r),          pointer<float>(smooth),
                                  pointer<float>(structure),  pointer<float>(evidence),
                                  pointer<uint8_t>(smoothed), least};
        DAL_CALL(cluster_heights, where, given, pointer<float>(out), volumes, voxels);
      },
      py::kw_only(), "r"_a, "smooth"_a, "structure"_a, "evidence"_a, "smoothed"_a, "least"_a, "out"_a,
      "volumes"_a, "voxels"_a, "where"_a, NoGil());
}

void register_instance_norm(py::module_& m) {
  m.def(
      "instance_norm_workspace",
      [](int64_t volumes, int64_t channels, int64_t voxels, bool channels_last) {
        return cuda::instance_norm_workspace({volumes, channels, voxels, channels_last, 0.f, 1.f});
      },
      py::kw_only(), "volumes"_a, "channels"_a, "voxels"_a, "channels_last"_a);
  m.def(
      "instance_norm",
      [](address x, address gain, address shift, address y, address workspace, int64_t volumes,
         int64_t channels, int64_t voxels, bool channels_last, float eps, float slope, int dtype,
         Where where) {
        const InstanceNormProblem problem{volumes, channels, voxels, channels_last, eps, slope};
        DAL_CALL(instance_norm, where, pointer<void>(x), pointer<float>(gain), pointer<float>(shift),
                 pointer<void>(y), pointer<void>(workspace), problem, DType(dtype));
      },
      py::kw_only(), "x"_a, "gain"_a, "shift"_a, "y"_a, "workspace"_a, "volumes"_a, "channels"_a,
      "voxels"_a, "channels_last"_a, "eps"_a, "slope"_a, "dtype"_a, "where"_a, NoGil());
}

}  // namespace

void register_cuda(py::module_& m) {
  m.attr("device_type") = "cuda";
  m.def("why_not", &why_not);
  cuda::register_ops(m);
  register_row_medians(m);
  register_scoring(m);
  register_instance_norm(m);
}

}  // namespace dal
