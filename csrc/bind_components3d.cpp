#include "bindings.h"

namespace dal {

void register_components3d(py::module_&) {}

}  // namespace dal
