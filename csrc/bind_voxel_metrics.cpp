#include "bindings.h"
#include "voxel_metrics/voxel_metrics.h"

namespace dal {

void register_voxel_metrics(py::module_& m) {
  m.def("score_histogram_workspace", &score_histogram_workspace);
  m.def("score_pages",
        [](address score, address mask, address pages, int64_t voxels, int dtype, int threads) {
          py::gil_scoped_release nogil;
          return DAL_DISPATCH(score_pages, pointer<void>(score), pointer<uint8_t>(mask), voxels,
                              pointer<uint8_t>(pages), DType(dtype), threads);
        });
  m.def("score_histogram", [](address score, address target, address mask, address base, address workspace,
                              address counts, address span, int64_t voxels, int64_t bins, int shift,
                              int64_t segment, int dtype, int threads) {
    py::gil_scoped_release nogil;
    DAL_DISPATCH(score_histogram, pointer<void>(score), pointer<uint8_t>(target), pointer<uint8_t>(mask),
                 voxels, ScoreBins{pointer<int32_t>(base), shift, bins}, segment, pointer<void>(workspace),
                 pointer<int64_t>(counts), pointer<int64_t>(span), DType(dtype), threads);
  });
}

}  // namespace dal
