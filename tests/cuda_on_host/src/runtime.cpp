// Stand-ins for the CUDA runtime. All is synchronous; host and device memory are one.
#include "coh/runtime.h"

#include <cstdlib>
#include <map>

#include "internal.h"

namespace coh {
namespace {

constexpr int kMultiprocessors = 4;  // few, so that loops over a grid loop

cudaError_t last_error = cudaSuccess;
std::string message;
std::map<char*, size_t> allocations;  // first byte -> bytes

}  // namespace

void set_error(cudaError_t error, const std::string& text) {
  last_error = error;
  message = text;
}

bool is_filled(const char* red_zone) {
  for (size_t i = 0; i < kRedZone; ++i)
    if (static_cast<unsigned char>(red_zone[i]) != kFill) return false;
  return true;
}

void check_red_zones() {
  for (auto [first, bytes] : allocations)
    if (!is_filled(first - kRedZone) || !is_filled(first + bytes)) {
      set_error(cudaErrorLaunchFailure, std::string("written outside of an allocation of ") +
                                            std::to_string(bytes) + " bytes [kernel " + running.name + "]");
      memset(first - kRedZone, kFill, kRedZone);
      memset(first + bytes, kFill, kRedZone);
    }
}

}  // namespace coh

using coh::last_error;

extern "C" {

const char* coh_message() { return coh::message.c_str(); }
uint64_t coh_switches() { return coh::switches; }

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, bytes + 2 * coh::kRedZone + (bytes == 0)))
    return last_error = cudaErrorMemoryAllocation;
  memset(memory, coh::kFill, bytes + 2 * coh::kRedZone);
  char* first = static_cast<char*>(memory) + coh::kRedZone;
  coh::allocations[first] = bytes;
  *pointer = first;
  return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
  if (!pointer) return cudaSuccess;
  if (!coh::allocations.erase(static_cast<char*>(pointer))) return last_error = cudaErrorInvalidValue;
  free(static_cast<char*>(pointer) - coh::kRedZone);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  memset(to, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  return cudaMemset(to, value, bytes);
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return last_error; }
cudaError_t cudaDeviceSynchronize() { return last_error; }

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : coh::message.empty() ? "error" : coh::message.c_str();
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device == 0) return cudaSuccess;
  coh::set_error(cudaErrorInvalidDevice, "invalid device ordinal");
  return last_error;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = coh::kMultiprocessors;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = 227 << 10;
      return cudaSuccess;
    default:
      return last_error = cudaErrorInvalidValue;
  }
}
}
