// Between a scan's own grid and the model's: axis-aligned, isotropic, sides multiples of 16; dal_fast's
// imaging/grid.py says why. Affines are 4x4, row by row, from voxel indices to millimetres that run to the
// right, to the front and upwards.
#pragma once
#include <cstdint>

#include "chain/shape.h"
#include "dtype.h"

namespace dal {

// Voxels in memory: size, elements from one to the next along each axis, and where they lie in the world.
struct SourceGrid {
  int64_t size[3], stride[3];
  double affine[16];
};

struct ModelGrid {
  Shape shape;
  double affine[16];
};

struct GridSettings {
  double voxel_mm = 2.0, margin_mm = 6.0;  // kept around the brain
  int64_t multiple = 16;  // of the sides
};

// The grid around a mask (bytes, laid out as `scan` says), or around the whole scan without one; false
// where the mask is empty or the affine cannot be inverted.
bool plan_model_grid(const SourceGrid& scan, const uint8_t* mask, const GridSettings& settings,
                     ModelGrid* grid);

// How to sample a volume at the centres of another grid: with anti-aliasing, or the nearest voxel; 0 beyond
// half a voxel outside.
struct ResamplePlan {
  Shape shape;  // of the result
  bool nothing;  // no sample lies in the source
  bool aligned;  // each axis of the result runs along one of the source, axes[]
  bool nearest;
  int axes[3];
  int64_t first[3], inner[3];  // the part of the result that lies in the source
  int64_t offset, size[3], stride[3];  // the part of the source that it needs, axes in the order of memory
  double steps[3][4];  // from indices of the one part to indices of the other
  double sigma[3];  // of the Gaussian along the source's axes that comes before oblique sampling
  bool smoothed;
};

ResamplePlan plan_resampling(const SourceGrid& source, Shape shape, const double* affine, bool nearest);
int64_t resample_workspace(const ResamplePlan& plan, int threads);  // bytes
// What no resampling of a source of at most these sides exceeds.
int64_t most_resample_workspace(Shape source, int threads);
// x: finite values, laid out as the source; out: plan.shape, contiguous.
void resample(const ResamplePlan& plan, const void* x, Voxel kind, float* out, void* workspace,
              int threads);

}  // namespace dal
