// The CUDA kernels' Python functions, with the CPU under them, and what steers it.
#include "bindings.h"
#include "coh/runtime.h"

PYBIND11_MODULE(_cuda_on_host, m) {
  using namespace pybind11::literals;
  m.doc() = "dal_fast's CUDA kernels, run on the CPU by tests/cuda_on_host";
  dal::register_cuda(m);
  m.def("coh_config", &coh_config, "order"_a = 0, "seed"_a = 1, "preempt"_a = 0, "resident"_a = 1);
  m.def("coh_races", &coh_races);
  m.def("coh_switches", &coh_switches);
  m.def("coh_message", &coh_message);
}
