// The GPU's half of the module: what there is to run on, and the ops.
#define DAL_BIND_CUDA
#include <string>

#include "bind_ops.h"
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

}  // namespace

void register_cuda(py::module_& m) {
  m.attr("device_type") = "cuda";
  m.def("why_not", &why_not);
  cuda::register_ops(m);
  register_row_medians(m);
}

}  // namespace dal
