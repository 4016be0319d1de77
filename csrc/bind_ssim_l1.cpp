#include <tuple>

#include "bindings.h"
#include "ssim_l1/ssim_l1.h"

namespace dal {
namespace DAL_ENGINE {
namespace {

// (volumes, depth, height, width, weights, radius, c1, c2, dtype, workspace), see ssim_l1.h
using Problem = std::tuple<int64_t, int64_t, int64_t, int64_t, address, int, double, double, int, address>;

SsimProblem problem_of(const Problem& p) {
  const auto& [volumes, depth, height, width, weights, radius, c1, c2, dtype, workspace] = p;
  return {volumes, depth, height, width,        pointer<double>(weights),
          radius,  c1,    c2,     DType(dtype), pointer<void>(workspace)};
}

}  // namespace

void register_ssim_l1(py::module_& m) {
  m.def("ssim_workspace", [](const Problem& p, [[maybe_unused]] Where where) {
    return DAL_SIZE(ssim_workspace, where, problem_of(p));
  });
  m.def("ssim_map", [](address x, address y, address out, bool hybrid, const Problem& p, Where where) {
    py::gil_scoped_release nogil;
    DAL_CALL(ssim_map, where, pointer<void>(x), pointer<void>(y), pointer<void>(out), hybrid,
             problem_of(p));
  });
  m.def("ssim_sums", [](address x, address y, address sums, address fields, const Problem& p, Where where) {
    py::gil_scoped_release nogil;
    DAL_CALL(ssim_sums, where, pointer<void>(x), pointer<void>(y), pointer<double>(sums),
             pointer<void>(fields), problem_of(p));
  });
  m.def("ssim_fields",
        [](address x, address y, address grad, address fields, const Problem& p, Where where) {
          py::gil_scoped_release nogil;
          DAL_CALL(ssim_fields, where, pointer<void>(x), pointer<void>(y), pointer<void>(grad),
                   pointer<void>(fields), problem_of(p));
        });
  m.def("ssim_backward", [](address x, address y, address fields, address upstream, double scale, double l1,
                            address grad_x, address grad_y, const Problem& p, Where where) {
    py::gil_scoped_release nogil;
    DAL_CALL(ssim_backward, where, pointer<void>(x), pointer<void>(y), pointer<void>(fields),
             pointer<double>(upstream), scale, l1, pointer<void>(grad_x), pointer<void>(grad_y),
             problem_of(p));
  });
}

}  // namespace DAL_ENGINE
}  // namespace dal
