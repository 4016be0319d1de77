#include "bindings.h"
#include "canny3d/canny3d.h"

namespace dal {
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
  m.def("canny3d_workspace",
        [](address values, address levels, address mask, int64_t batch, int64_t channels, int64_t depth,
           int64_t height, int64_t width, int dtype, int64_t radius, int threads) {
          return DAL_DISPATCH(canny3d_workspace,
                              input_of(values, levels, mask, batch, channels, depth, height, width, dtype),
                              radius, threads);
        });
  m.def("canny3d", [](address values, address levels, address mask, int64_t batch, int64_t channels,
                      int64_t depth, int64_t height, int64_t width, int dtype, address taps, int64_t radius,
                      double low, double high, address workspace, address edges, int threads) {
    py::gil_scoped_release nogil;
    const CannyInput input = input_of(values, levels, mask, batch, channels, depth, height, width, dtype);
    DAL_DISPATCH(canny3d, input, CannyParameters{pointer<double>(taps), radius, low, high},
                 pointer<void>(workspace), pointer<uint8_t>(edges), threads);
  });
}

}  // namespace dal
