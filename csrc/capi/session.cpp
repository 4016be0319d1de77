#include "capi/session.h"

#include <algorithm>
#include <cstring>

#include "capi/failure.h"
#include "capi/structs.h"

dal_session::dal_session(dal_engine* owner, const dal::Limits& given)
    : engine(owner), limits(given), arena(owner->memory) {
  engine->reserve_threads();
  try {
    arena.allocate(dal::arena_bytes(engine->settings, limits, engine->threads));
    const auto open = [&](dal::Part part) {
      requests_[static_cast<int>(part)] = engine->network(part).request(engine->memory);
    };
    if (limits.screening) open(dal::Part::tissue);
    if (limits.screening && engine->settings.residual_head) open(dal::Part::residual_head);
    if (limits.extraction) open(dal::Part::extractor);
  } catch (...) {
    release();
    throw;
  }
  engine->use();
}

dal_session::~dal_session() { release(); }

void dal_session::release() noexcept {
  for (auto*& request : requests_) {
    dal::engine::close(request, engine->memory);
    request = nullptr;
  }
  engine->session_closed();
}

dal_summary dal_session::run(const dal_request& request, dal::Until until) {
  regions.count = 0;
  inside = {};
  if (request.deadline_ms < 0) dal::fail(DAL_ARGUMENT, "value", "deadline_ms is negative");
  const dal::Watch watch(state, request.deadline_ms);
  const dal::RunMemory memory{arena.start(), arena.bytes()};
  if (engine->executor) {
    const dal::UseExecutor use(*engine->executor);
    return dal::run_chain(*engine, limits, requests_, request, watch, memory, until, regions, inside);
  }
  const dal::UsePool use(engine->pool);
  return dal::run_chain(*engine, limits, requests_, request, watch, memory, until, regions, inside);
}

void dal_session::copy_regions(dal_region* to, size_t size, int32_t capacity) const {
  const int32_t count = std::min(capacity, regions.count);
  for (int32_t i = 0; i < count; ++i) {
    char* const place = reinterpret_cast<char*>(to) + static_cast<size_t>(i) * size;
    const size_t known = std::min(size, sizeof(dal_region));
    std::memcpy(place, regions.table + i, known);
    std::memset(place + known, 0, size - known);
  }
}
