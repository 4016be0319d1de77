#include "bindings.h"

namespace dal {

void register_median3d(py::module_&) {}

}  // namespace dal
