#include "bindings.h"

PYBIND11_MODULE(_C, m) {
  m.doc() = "dal_fast's compiled kernels: raw addresses in, results in place";
  dal::register_isa(m);
  dal::register_onehot(m);
  dal::register_ssim_l1(m);
  dal::register_canny3d(m);
  dal::register_median3d(m);
  dal::register_components3d(m);
  dal::register_voxel_metrics(m);
}
