#include "bindings.h"

namespace dal {

void register_voxel_metrics(py::module_&) {}

}  // namespace dal
