// A GPU made the current one for as long as this object lives.
#pragma once
#include "cuda_errors.h"

namespace dal {
namespace cuda {

class OnDevice {
 public:
  explicit OnDevice(int device) {
    check_call(cudaGetDevice(&before_), "cudaGetDevice");
    if (before_ == device) return;
    check_call(cudaSetDevice(device), "cudaSetDevice(" + std::to_string(device) + ")");
    changed_ = true;
  }
  // An error on the way back is left for the next launch to find: a destructor must not throw.
  ~OnDevice() {
    if (changed_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

}  // namespace cuda
}  // namespace dal
