// What module.cpp calls and every bind_<op>.cpp shares.
//
// A bind_<op>.cpp is compiled twice: for the CPU's launchers and, with DAL_BIND_CUDA, for the GPU's. Both
// give Python the same functions; only the last argument differs, the number of threads or the stream.
#pragma once
#include <pybind11/pybind11.h>

#include <cstdint>
#include <utility>

#include "isa.h"

#ifdef DAL_BIND_CUDA
#include "on_device.h"
#define DAL_ENGINE               cuda
#define DAL_SIZE(fn, where, ...) ::dal::cuda::fn(__VA_ARGS__)
#define DAL_CALL(fn, where, ...) \
  (::dal::cuda::OnDevice((where).first), ::dal::cuda::fn(__VA_ARGS__, pointer<void>((where).second)))
#else
#define DAL_ENGINE               cpu
#define DAL_SIZE(fn, where, ...) DAL_DISPATCH(fn, __VA_ARGS__, where)
#define DAL_CALL(fn, where, ...) DAL_DISPATCH(fn, __VA_ARGS__, where)
#endif

namespace dal {

namespace py = pybind11;

// Tensors cross as addresses of contiguous storage; Python has validated shapes and dtypes.
using address = std::uintptr_t;
template <class T>
T* pointer(address a) {
  return reinterpret_cast<T*>(a);
}

void register_isa(py::module_& m);
namespace cpu {
void register_separable(py::module_& m);  // resampling has no GPU half
}
void register_cuda(py::module_& m);  // the GPU's functions and what there is to run them on

namespace DAL_ENGINE {

#ifdef DAL_BIND_CUDA
using Where = const std::pair<int, address>&;  // device, cudaStream_t
#else
using Where = int;  // threads
#endif

void register_onehot(py::module_& m);
void register_ssim_l1(py::module_& m);
void register_canny3d(py::module_& m);
void register_median3d(py::module_& m);
void register_components3d(py::module_& m);
void register_voxel_metrics(py::module_& m);

inline void register_ops(py::module_& m) {
  register_onehot(m);
  register_ssim_l1(m);
  register_canny3d(m);
  register_median3d(m);
  register_components3d(m);
  register_voxel_metrics(m);
}

}  // namespace DAL_ENGINE
}  // namespace dal
