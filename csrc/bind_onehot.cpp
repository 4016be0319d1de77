#include "bindings.h"
#include "onehot/onehot.h"

namespace dal {
namespace DAL_ENGINE {

void register_onehot(py::module_& m) {
  m.def("onehot_forward", [](address logits, address levels, address mask, address out, int64_t batch,
                             int64_t classes, int64_t voxels, int dtype, Where where) {
    py::gil_scoped_release nogil;
    DAL_CALL(onehot_forward, where, pointer<void>(logits), pointer<double>(levels), pointer<uint8_t>(mask),
             pointer<void>(out), OnehotShape{batch, classes, voxels}, DType(dtype));
  });
  m.def("onehot_backward",
        [](address logits, address grad_out, address levels, address mask, address grad_logits,
           int64_t batch, int64_t classes, int64_t voxels, double temperature, int dtype, Where where) {
          py::gil_scoped_release nogil;
          DAL_CALL(onehot_backward, where, pointer<void>(logits), pointer<void>(grad_out),
                   pointer<double>(levels), pointer<uint8_t>(mask), pointer<void>(grad_logits),
                   OnehotShape{batch, classes, voxels}, temperature, DType(dtype));
        });
}

}  // namespace DAL_ENGINE
}  // namespace dal
