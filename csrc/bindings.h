// What module.cpp calls and every bind_<op>.cpp shares.
#pragma once
#include <pybind11/pybind11.h>

#include <cstdint>

namespace dal {

namespace py = pybind11;

// Tensors cross as addresses of contiguous storage; Python has validated shapes and dtypes.
using address = std::uintptr_t;
template <class T>
T* pointer(address a) {
  return reinterpret_cast<T*>(a);
}

void register_isa(py::module_& m);
void register_onehot(py::module_& m);
void register_ssim_l1(py::module_& m);
void register_canny3d(py::module_& m);
void register_median3d(py::module_& m);
void register_components3d(py::module_& m);
void register_voxel_metrics(py::module_& m);

}  // namespace dal
