#include "bindings.h"
#include "median3d/median3d.h"

namespace dal {

void register_median3d(py::module_& m) {
  m.def("median3d_workspace", [](int64_t batch, int64_t channels, int64_t depth, int64_t height,
                                 int64_t width, int size, int dtype, int threads) {
    return DAL_DISPATCH(median3d_workspace, Median3dShape{batch, channels, depth, height, width, size},
                        DType(dtype), threads);
  });
  m.def("median3d",
        [](address x, address mask, address out, address workspace, int64_t batch, int64_t channels,
           int64_t depth, int64_t height, int64_t width, int size, int dtype, int threads) {
          py::gil_scoped_release nogil;
          DAL_DISPATCH(median3d, pointer<void>(x), pointer<uint8_t>(mask), pointer<void>(out),
                       pointer<void>(workspace), Median3dShape{batch, channels, depth, height, width, size},
                       DType(dtype), threads);
        });
}

}  // namespace dal
