#include "bindings.h"

namespace dal {

void register_canny3d(py::module_&) {}

}  // namespace dal
