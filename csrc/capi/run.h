// One scan through the whole chain, in the memory that a session has taken.
#pragma once
#include <cstdint>

#include "capi/dal_fast.h"
#include "capi/engine.h"
#include "capi/image.h"
#include "engine/engine.h"

namespace dal {

struct Limits {
  int64_t max_shape[3];
  double max_brain_mm;
  bool extraction;
};

// Throws Failure for values out of their range.
Limits checked_limits(const dal_limits& given);

struct Regions {
  dal_region* table;
  int32_t count;
};

// Bytes that the runs within these limits need at most.
size_t arena_bytes(const Settings& settings, const Limits& limits, int threads);

struct RunMemory {
  void* start;
  size_t bytes;
};

// `requests` of the parts that were opened, the others null.
dal_summary run_chain(const dal_engine& engine, const Limits& limits, engine::Request* const* requests,
                      const dal_request& request, const Watch& watch, RunMemory memory, Regions& regions);

}  // namespace dal
