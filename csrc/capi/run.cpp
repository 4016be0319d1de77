#include "capi/run.h"

#include <algorithm>
#include <cmath>

#include "capi/failure.h"
#include "capi/structs.h"

namespace dal {

Limits checked_limits(const dal_limits& given) {
  Limits limits{{256, 256, 256}, 230, given.extraction != 0};
  for (int axis = 0; axis < 3; ++axis) {
    if (given.max_shape[axis]) limits.max_shape[axis] = given.max_shape[axis];
    if (limits.max_shape[axis] < 8 || limits.max_shape[axis] > 1024)
      fail(DAL_ARGUMENT, "value", "max_shape[%d] must be 8 to 1024, not %lld", axis,
           (long long)limits.max_shape[axis]);
  }
  if (given.max_brain_mm != 0) limits.max_brain_mm = given.max_brain_mm;
  if (!(limits.max_brain_mm >= 20 && limits.max_brain_mm <= 1000))
    fail(DAL_ARGUMENT, "value", "max_brain_mm must be 20 to 1000, not %g", limits.max_brain_mm);
  return limits;
}

size_t arena_bytes(const Settings&, const Limits&, int) { return 1 << 20; }

dal_summary run_chain(const dal_engine&, const Limits&, engine::Request* const*, const dal_request&,
                      const Watch&, RunMemory, Regions&) {
  fail(DAL_UNSUPPORTED, "unexpected", "the chain is not here yet");
}

}  // namespace dal
