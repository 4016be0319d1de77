#include "bindings.h"
#include "ssim_l1/ssim_l1.h"

namespace dal {

void register_ssim_l1(py::module_& m) {
  py::class_<SsimProblem>(m, "SsimProblem")
      .def(py::init([](int64_t volumes, int64_t depth, int64_t height, int64_t width, address weights,
                       int radius, double c1, double c2, int dtype, int threads) {
        return SsimProblem{volumes, depth,        height,  width,  pointer<double>(weights), radius, c1,
                           c2,      DType(dtype), threads, nullptr};
      }))
      .def("workspace_bytes", [](const SsimProblem& p) { return DAL_DISPATCH(ssim_workspace, p); })
      .def("set_workspace", [](SsimProblem& p, address a) { p.workspace = pointer<void>(a); });

  m.def("ssim_map", [](address x, address y, address out, bool hybrid, const SsimProblem& p) {
    py::gil_scoped_release nogil;
    DAL_DISPATCH(ssim_map, pointer<void>(x), pointer<void>(y), pointer<void>(out), hybrid, p);
  });
  m.def("ssim_sums", [](address x, address y, address sums, address fields, const SsimProblem& p) {
    py::gil_scoped_release nogil;
    DAL_DISPATCH(ssim_sums, pointer<void>(x), pointer<void>(y), pointer<double>(sums),
                 pointer<void>(fields), p);
  });
  m.def("ssim_fields", [](address x, address y, address grad, address fields, const SsimProblem& p) {
    py::gil_scoped_release nogil;
    DAL_DISPATCH(ssim_fields, pointer<void>(x), pointer<void>(y), pointer<void>(grad),
                 pointer<void>(fields), p);
  });
  m.def("ssim_backward", [](address x, address y, address fields, double scale, double l1, address grad_x,
                            address grad_y, const SsimProblem& p) {
    py::gil_scoped_release nogil;
    DAL_DISPATCH(ssim_backward, pointer<void>(x), pointer<void>(y), pointer<void>(fields), scale, l1,
                 pointer<void>(grad_x), pointer<void>(grad_y), p);
  });
}

}  // namespace dal
