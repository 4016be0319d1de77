// CUDA's errors as exceptions. Each is raised once, by the name of the call that it belongs to.
#pragma once
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace dal {
namespace cuda {

// Throws std::runtime_error, which Python sees as RuntimeError, where `error` is one. The call that
// returned it has also left it for the next cudaGetLastError(): taken back, so that no other call is
// blamed.
inline void check_call(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw std::runtime_error(what + ": " + cudaGetErrorString(error));
}

// Before a launch: an error that somebody else's call left behind would otherwise be found after it.
inline void check_before_launch() { check_call(cudaGetLastError(), "an earlier CUDA call failed"); }

}  // namespace cuda
}  // namespace dal
