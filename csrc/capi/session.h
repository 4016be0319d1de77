// dal_session: the memory and the requests of one scan at a time.
#pragma once
#include <atomic>
#include <cstdint>

#include "capi/dal_fast.h"
#include "capi/engine.h"
#include "capi/image.h"
#include "capi/run.h"

struct dal_session {
  dal_session(dal_engine* owner, const dal::Limits& limits);
  ~dal_session();
  dal_session(const dal_session&) = delete;
  dal_session& operator=(const dal_session&) = delete;

  // Throws Failure. Results stay until the next run.
  dal_summary run(const dal_request& request, dal::Until until = dal::Until::regions);
  // The first `capacity` of the last run's, `size` bytes each.
  void copy_regions(dal_region* to, size_t size, int32_t capacity) const;

  dal_engine* const engine;
  const dal::Limits limits;
  dal::Block arena;
  std::atomic<dal::RunState> state{dal::RunState::idle};
  dal::Regions regions{};
  dal::Inside inside{};

 private:
  void release() noexcept;

  dal::engine::Request* requests_[dal::kParts] = {};
};
