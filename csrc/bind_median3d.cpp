#include "bindings.h"
#include "median3d/median3d.h"

namespace dal {
namespace DAL_ENGINE {

void register_median3d(py::module_& m) {
  m.def("median3d_workspace", [](int64_t batch, int64_t channels, int64_t depth, int64_t height,
                                 int64_t width, int size, int dtype, [[maybe_unused]] Where where) {
    return DAL_SIZE(median3d_workspace, where, Median3dShape{batch, channels, depth, height, width, size},
                    DType(dtype));
  });
  m.def("median3d",
        [](address x, address mask, address out, address workspace, int64_t batch, int64_t channels,
           int64_t depth, int64_t height, int64_t width, int size, int dtype, Where where) {
          py::gil_scoped_release nogil;
          DAL_CALL(median3d, where, pointer<void>(x), pointer<uint8_t>(mask), pointer<void>(out),
                   pointer<void>(workspace), Median3dShape{batch, channels, depth, height, width, size},
                   DType(dtype));
        });
}

}  // namespace DAL_ENGINE
}  // namespace dal
