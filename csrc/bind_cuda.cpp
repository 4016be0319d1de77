// The GPU's half of the module: what there is to run on, and the ops.
#define DAL_BIND_CUDA
#include <string>

#include "bind_ops.h"

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

}  // namespace

void register_cuda(py::module_& m) {
  m.attr("device_type") = "cuda";
  m.def("why_not", &why_not);
  cuda::register_ops(m);
}

}  // namespace dal
