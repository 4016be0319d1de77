#include "bindings.h"
#include "components3d/components3d.h"

namespace dal {

void register_components3d(py::module_& m) {
  m.def("components3d_workspace",
        [](int64_t volumes, int64_t depth, int64_t height, int64_t width, int connectivity, int threads) {
          return DAL_DISPATCH(components3d_workspace,
                              Components3dShape{volumes, depth, height, width, connectivity}, threads);
        });
  m.def("components3d", [](address mask, address labels, address workspace, int64_t volumes, int64_t depth,
                           int64_t height, int64_t width, int connectivity, int threads) {
    py::gil_scoped_release nogil;
    DAL_DISPATCH(components3d, pointer<uint8_t>(mask), pointer<int32_t>(labels), pointer<void>(workspace),
                 Components3dShape{volumes, depth, height, width, connectivity}, threads);
  });
  m.def(
      "remove_small", [](address mask, address out, address workspace, int64_t volumes, int64_t depth,
                         int64_t height, int64_t width, int connectivity, int64_t min_voxels, int threads) {
        py::gil_scoped_release nogil;
        DAL_DISPATCH(remove_small, pointer<uint8_t>(mask), pointer<uint8_t>(out), pointer<void>(workspace),
                     Components3dShape{volumes, depth, height, width, connectivity}, min_voxels, threads);
      });
}

}  // namespace dal
