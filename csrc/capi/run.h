// One scan through the whole chain, in the memory that a session has taken.
#pragma once
#include <cstdint>

#include "capi/dal_fast.h"
#include "capi/engine.h"
#include "capi/image.h"
#include "chain/brain.h"
#include "chain/shape.h"
#include "engine/engine.h"

namespace dal {

struct Limits {
  int64_t max_shape[3];
  double max_brain_mm;
  bool extraction;
  double max_head_mm = 400;  // longest side of a scan whose brain is extracted
  bool screening = true;  // without it, runs end with the brain mask
};

// Throws Failure for values out of their range.
Limits checked_limits(const dal_limits& given);

struct Regions {
  dal_region* table;
  int32_t count;
};

// What a run leaves in the session's memory until the next one, beside what dal_fast.h gives: Python shows
// it. Volumes lie on the model's grid.
struct Inside {
  Shape shape;
  double affine[16];
  const float *image, *tissue, *bias;  // normalised; probabilities (3, D, H, W); about 1, 0 outside
  const uint8_t* mask;
  BrainFound brain;  // of a brain that was extracted, also of one that was then refused
  double brain_ml;
};

// Where a run ends.
enum class Until { regions, brain_mask };

// Bytes that the runs within these limits need at most.
size_t arena_bytes(const Settings& settings, const Limits& limits, int threads);

struct RunMemory {
  void* start;
  size_t bytes;
};

// `requests` of the parts that were opened, the others null.
dal_summary run_chain(const dal_engine& engine, const Limits& limits, engine::Request* const* requests,
                      const dal_request& request, const Watch& watch, RunMemory memory, Until until,
                      Regions& regions, Inside& inside);

}  // namespace dal
