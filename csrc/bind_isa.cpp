#include <stdexcept>
#include <string>

#include "bindings.h"
#include "isa.h"

namespace dal {
namespace {

Isa parse(const std::string& name) {
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512})
    if (name == isa_name(isa)) return isa;
  throw std::invalid_argument("unknown instruction set '" + name + "': choose portable, avx2 or avx512");
}

}  // namespace

void register_isa(py::module_& m) {
  m.def("current_isa", [] { return isa_name(current_isa()); });
  m.def("set_isa", [](const std::string& name) { set_isa(parse(name)); });
  m.def("supported_isas", [] {
    py::list names;
    for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512})
      if (isa_supported(isa)) names.append(isa_name(isa));
    return names;
  });
}

}  // namespace dal
