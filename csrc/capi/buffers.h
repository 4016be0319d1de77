// Where every volume of a run lies in the session's memory.
#pragma once
#include <cstdint>

#include "capi/dal_fast.h"
#include "capi/settings.h"
#include "chain/regions.h"
#include "chain/shape.h"

namespace dal {

constexpr int64_t kMostRegions = 16384;

struct Sizes {
  Shape scan;        // (k, j, i): as it lies in memory
  Shape model, box;  // the model's grid, and what the networks see of it
  int threads;
};

struct Buffers {
  // Without memory it only measures.
  Buffers(void* memory, const Settings& settings, const Sizes& sizes);

  // on the scan's grid
  float *scan, *map, *pseudo_healthy;
  uint8_t *brain, *above;
  double* finds;
  Region* regions;
  dal_region* found;
  // on the model's grid; p of three tissues
  float *image, *x, *phi, *bias, *p, *fluid, *abnormal, *anomaly, *highest, *lowest, *spread, *usual;
  uint8_t *mask, *view;
  // what the networks see; `first` is the tissue network's input, `output` its output
  struct Box {
    float *x, *first, *output, *p, *phi, *bias, *fluid, *highest, *lowest, *spread, *evidence, *logit;
    uint8_t *mask, *signal;
  } box;
  void* stage;  // of whichever stage is at work
  int64_t bytes;

 private:
  int64_t stage_bytes(const Settings& settings, const Sizes& sizes) const;
};

}  // namespace dal
