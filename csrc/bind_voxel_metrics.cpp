#include "bindings.h"
#include "voxel_metrics/voxel_metrics.h"

namespace dal {
namespace DAL_ENGINE {

void register_voxel_metrics(py::module_& m) {
  m.def("score_histogram_workspace", [](int64_t bins, [[maybe_unused]] Where where) {
    return DAL_SIZE(score_histogram_workspace, where, bins);
  });
  m.def("score_pages", [](address score, address mask, address pages, address nans, int64_t voxels,
                          int dtype, Where where) {
    py::gil_scoped_release nogil;
    DAL_CALL(score_pages, where, pointer<void>(score), pointer<uint8_t>(mask), voxels,
             pointer<uint8_t>(pages), pointer<int64_t>(nans), DType(dtype));
  });
  m.def("score_histogram", [](address score, address target, address mask, address base, address workspace,
                              address counts, address span, int64_t voxels, int64_t bins, int shift,
                              int64_t segment, int dtype, Where where) {
    py::gil_scoped_release nogil;
    DAL_CALL(score_histogram, where, pointer<void>(score), pointer<uint8_t>(target), pointer<uint8_t>(mask),
             voxels, ScoreBins{pointer<int32_t>(base), shift, bins}, segment, pointer<void>(workspace),
             pointer<int64_t>(counts), pointer<int64_t>(span), DType(dtype));
  });
}

}  // namespace DAL_ENGINE
}  // namespace dal
