// What the sources that bind the kernels to Python share.
//
// There are two: module.cpp for the CPU, and bind_cuda.cpp, which defines DAL_BIND_CUDA, for the GPU. Each
// is one translation unit, as most of its compile time goes into pybind11's headers. Both give Python the
// same functions (bind_ops.h); only `where` differs: the number of threads, or device and stream.
//
// Every function and every struct takes its arguments by keyword alone, so that no two of them can be
// confused on the way.
#pragma once
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

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
using namespace pybind11::literals;

// Tensors cross as addresses of contiguous storage; Python has validated shapes and dtypes.
using address = std::uintptr_t;
template <class T>
T* pointer(address a) {
  return reinterpret_cast<T*>(a);
}

#ifdef DAL_BIND_CUDA
using Where = const std::pair<int, address>&;  // device, cudaStream_t
#else
using Where = int;  // threads
#endif
using NoGil = py::call_guard<py::gil_scoped_release>;

// A member of a struct by its name; addresses and codes of enumerations are integers in Python.
template <class T>
struct Field {
  const char* name;
  void (*set)(T&, py::handle);
};
template <class T, auto kMember>
void set_field(T& object, py::handle value) {
  using V = std::decay_t<decltype(object.*kMember)>;
  if constexpr (std::is_pointer_v<V>)
    object.*kMember = reinterpret_cast<V>(value.cast<address>());
  else if constexpr (std::is_enum_v<V>)
    object.*kMember = V(value.cast<int>());
  else
    object.*kMember = value.cast<V>();
}
#define DAL_FIELD(T, name) \
  ::dal::Field<T> { #name, &::dal::set_field<T, &T::name> }

// The struct T as a Python class that is built from exactly these keywords.
template <class T>
void register_struct(py::module_& m, const char* name, std::vector<Field<T>> fields) {
  const auto build = [name, fields = std::move(fields)](const py::kwargs& given) {
    T object{};
    size_t taken = 0;
    for (const Field<T>& field : fields) {
      if (!given.contains(field.name))
        throw py::type_error(std::string(name) + " needs the argument " + field.name);
      field.set(object, given[field.name]);
      ++taken;
    }
    if (given.size() != taken) throw py::type_error(std::string(name) + " was given an unknown argument");
    return object;
  };
  py::class_<T>(m, name).def(py::init(build));
}

void register_cuda(py::module_& m);  // the GPU's functions and what there is to run them on

}  // namespace dal
