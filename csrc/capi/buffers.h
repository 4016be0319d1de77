// Where every volume of a run lies in the session's memory. A run learns its sizes one after the other: the
// scan's, the model grid's once there is a brain mask, and that of what the networks see of it. Memory is
// used again as soon as what lay there is done with:
//
//   scan     scan, later the map | masks, tables
//   model    what is kept to the end | what comes before or after the networks
//   head     in the model's place
//   box      what the networks see, behind what the model keeps
//   regions  the same place, once the map is there
#pragma once
#include <cstdint>

#include "capi/dal_fast.h"
#include "capi/settings.h"
#include "chain/regions.h"
#include "chain/shape.h"

namespace dal {

constexpr int64_t kMostRegions = 16384;

// Hands out the session's memory; without memory it only adds up.
class Arena {
 public:
  Arena(void* memory, int64_t capacity) : memory_(memory), capacity_(capacity) {}

  // A group of buffers behind `used` bytes. Throws Failure (session-too-small).
  template <class Group, class... Sizes>
  Group place(int64_t used, const Sizes&... sizes) const {
    const Group needed(nullptr, sizes...);
    if (!memory_) return needed;
    if (used + needed.bytes > capacity_) too_small(used + needed.bytes);
    return Group(static_cast<char*>(memory_) + used, sizes...);
  }

 private:
  [[noreturn]] void too_small(int64_t needed) const;

  void* const memory_;
  const int64_t capacity_;
};

struct ScanBuffers {
  ScanBuffers(void* memory, Shape scan);

  float* scan;  // until it is on the model's grid; then whatever is written of it
  float* map;  // the same memory
  uint8_t *brain, *above;
  double* finds;
  Region* regions;
  dal_region* found;
  int64_t bytes;
};

struct RegionBuffers {
  // `least` voxels make a region.
  RegionBuffers(void* memory, Shape scan, int64_t least, int threads);

  void* stage;
  int64_t bytes;
};

struct HeadBuffers {
  // `cover`: of the grid over the whole scan. `resampling`: bytes for it.
  HeadBuffers(void* memory, const Settings& settings, Shape scan, Shape cover, int64_t resampling,
              int threads);

  float *whole, *head, *altered, *first, *second, *faces, *clean;
  float* distance;  // on the scan's grid
  void* stage;
  int64_t bytes;
};

struct ModelBuffers {
  ModelBuffers(void* memory, const Settings& settings, Shape model, int64_t resampling, int threads);

  float *image, *x, *phi, *bias, *p, *fluid, *abnormal, *anomaly;
  uint8_t *mask, *view;
  int64_t kept;  // bytes of these; the box lies behind them
  float *highest, *lowest, *spread, *usual;
  void* stage;
  int64_t bytes;
};

struct BoxBuffers {
  BoxBuffers(void* memory, const Settings& settings, Shape box, int threads);

  // `first` is what the tissue network sees, `output` what it answers; `evidence` lies in their place, and
  // `logit` in that of `highest`
  float *x, *first, *output, *p, *phi, *bias, *fluid, *highest, *lowest, *spread, *evidence, *logit;
  uint8_t *mask, *signal;
  void* stage;
  int64_t bytes;
};

}  // namespace dal
