#include "capi/dal_fast.h"
#include "capi/failure.h"
#include "engine/engine.h"

namespace dal {

// Of any deadline, also of one that no clock reaches.
bool Watch::late() const {
  using std::chrono::duration_cast, std::chrono::milliseconds;
  return deadline_ms_ > 0 && duration_cast<milliseconds>(Clock::now() - begin_).count() >= deadline_ms_;
}

void Watch::check() const {
  if (cancelled()) fail(DAL_CANCELLED, "cancelled", "the run was cancelled");
  if (late()) fail(DAL_DEADLINE, "timed-out", "the run did not end within its deadline");
}

}  // namespace dal
