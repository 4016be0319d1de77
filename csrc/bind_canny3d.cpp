#include "bindings.h"
#include "canny3d/canny3d.h"

namespace dal {
namespace DAL_ENGINE {
namespace {

CannyInput input_of(address values, address levels, address mask, int64_t batch, int64_t channels,
                    int64_t depth, int64_t height, int64_t width, int dtype) {
  return {pointer<void>(values),
          pointer<double>(levels),
          pointer<uint8_t>(mask),
          batch,
          channels,
          depth,
          height,
          width,
          DType(dtype)};
}

}  // namespace

void register_canny3d(py::module_& m) {
  m.def("canny3d_workspace", [](address values, address levels, address mask, int64_t batch,
                                int64_t channels, int64_t depth, int64_t height, int64_t width, int dtype,
                                int64_t radius, [[maybe_unused]] Where where) {
    return DAL_SIZE(canny3d_workspace, where,
                    input_of(values, levels, mask, batch, channels, depth, height, width, dtype), radius);
  });
  m.def("canny3d", [](address values, address levels, address mask, int64_t batch, int64_t channels,
                      int64_t depth, int64_t height, int64_t width, int dtype, address taps, int64_t radius,
                      double low, double high, address workspace, address edges, Where where) {
    py::gil_scoped_release nogil;
    const CannyInput input = input_of(values, levels, mask, batch, channels, depth, height, width, dtype);
    const CannyParameters parameters = {pointer<double>(taps), radius, low, high};
    DAL_CALL(canny3d, where, input, parameters, pointer<void>(workspace), pointer<uint8_t>(edges));
  });
}

}  // namespace DAL_ENGINE
}  // namespace dal
