#include "bindings.h"
#include "components3d/components3d.h"

namespace dal {
namespace DAL_ENGINE {

void register_components3d(py::module_& m) {
  m.def("components3d_workspace", [](int64_t volumes, int64_t depth, int64_t height, int64_t width,
                                     int connectivity, [[maybe_unused]] Where where) {
    return DAL_SIZE(components3d_workspace, where,
                    Components3dShape{volumes, depth, height, width, connectivity});
  });
  m.def("components3d", [](address mask, address labels, address workspace, int64_t volumes, int64_t depth,
                           int64_t height, int64_t width, int connectivity, Where where) {
    py::gil_scoped_release nogil;
    DAL_CALL(components3d, where, pointer<uint8_t>(mask), pointer<int32_t>(labels),
             pointer<void>(workspace), Components3dShape{volumes, depth, height, width, connectivity});
  });
  m.def("remove_small", [](address mask, address out, address workspace, int64_t volumes, int64_t depth,
                           int64_t height, int64_t width, int connectivity, int64_t min_voxels,
                           Where where) {
    py::gil_scoped_release nogil;
    DAL_CALL(remove_small, where, pointer<uint8_t>(mask), pointer<uint8_t>(out), pointer<void>(workspace),
             Components3dShape{volumes, depth, height, width, connectivity}, min_voxels);
  });
}

}  // namespace DAL_ENGINE
}  // namespace dal
