#include "capi/dal_fast.h"
#include "capi/failure.h"
#include "engine/engine.h"

namespace dal {

Watch::Watch(const std::atomic<bool>& cancelled, int64_t deadline_ms)
    : cancelled_(cancelled), limited_(deadline_ms > 0), until_(Clock::now()) {
  if (limited_) until_ += std::chrono::milliseconds(deadline_ms);
}

bool Watch::over() const {
  return cancelled_.load(std::memory_order_relaxed) || (limited_ && Clock::now() >= until_);
}

void Watch::check() const {
  if (cancelled_.load(std::memory_order_relaxed)) fail(DAL_CANCELLED, "cancelled", "the run was cancelled");
  if (limited_ && Clock::now() >= until_)
    fail(DAL_DEADLINE, "timed-out", "the run did not end within its deadline");
}

}  // namespace dal
