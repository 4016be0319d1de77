#include "capi/dal_fast.h"
#include "capi/failure.h"
#include "engine/engine.h"

namespace dal {

Watch::Watch(const std::atomic<RunState>& state, int64_t deadline_ms)
    : state_(state), limited_(deadline_ms > 0), until_(Clock::now()) {
  if (limited_) until_ += std::chrono::milliseconds(deadline_ms);
}

bool Watch::over() const { return cancelled() || late(); }

void Watch::check() const {
  if (cancelled()) fail(DAL_CANCELLED, "cancelled", "the run was cancelled");
  if (late()) fail(DAL_DEADLINE, "timed-out", "the run did not end within its deadline");
}

}  // namespace dal
