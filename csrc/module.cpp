#include "bindings.h"

PYBIND11_MODULE(_C, m) {
  m.doc() = "dal_fast's compiled kernels: raw addresses in, results in place";
  dal::register_isa(m);
  dal::cpu::register_ops(m);
  dal::cpu::register_separable(m);
#ifdef DAL_WITH_CUDA
  pybind11::module_ cuda = m.def_submodule("cuda", "the same functions on a GPU");
  dal::register_cuda(cuda);
#endif
}
