#include "chain/regions.h"

#include <algorithm>
#include <cmath>

#include "chain/chunks.h"
#include "checkpoint.h"
#include "components3d/components3d.h"

namespace dal {
namespace {

Components3dShape connected(Shape s) { return {1, s.depth, s.height, s.width, 26}; }

struct MaskScratch {
  uint8_t* above;
  char* components;
  int64_t bytes;

  MaskScratch(void* workspace, Shape shape, int threads) {
    Parts parts(workspace);
    above = parts.take<uint8_t>(shape.voxels());
    components = parts.take<char>(DAL_DISPATCH(components3d_workspace, connected(shape), threads));
    bytes = parts.used();
  }
};

// What is known of a region while its voxels come by.
struct Sums {
  double sum;
  int64_t voxels, at;
  float peak;
  int32_t label;
};

struct RegionScratch {
  int32_t* labels;
  Sums* sums;
  char* components;
  int64_t most, bytes;

  RegionScratch(void* workspace, Shape s, int64_t least, int threads) {
    const int64_t apart = ceil_div(s.depth, 2) * ceil_div(s.height, 2) * ceil_div(s.width, 2);
    most = std::min(apart, s.voxels() / std::max<int64_t>(1, least));
    Parts parts(workspace);
    labels = parts.take<int32_t>(s.voxels());
    sums = parts.take<Sums>(most);
    components = parts.take<char>(DAL_DISPATCH(components3d_workspace, connected(s), threads));
    bytes = parts.used();
  }
};

int64_t sum_up(const float* x, const int32_t* labels, int64_t voxels, int64_t most, Sums* sums) {
  int64_t count = 0;
  for (int64_t i = 0; i < voxels; ++i) {
    const int32_t label = labels[i];
    if (label == 0 || label > most) continue;
    if (label > count) sums[count++] = {0, 0, i, x[i], label};  // labels begin in this order
    Sums& region = sums[label - 1];
    region.sum += double(x[i]);
    ++region.voxels;
    if (x[i] > region.peak) region.peak = x[i], region.at = i;
  }
  return count;
}

Region describe(const Sums& sums, const double affine[16], Shape s) {
  const double index[3] = {double(sums.at % s.width), double(sums.at / s.width % s.height),
                           double(sums.at / s.width / s.height)};
  Region region{};
  region.volume_ml = double(sums.voxels) * voxel_ml(affine);
  region.mean = sums.sum / double(sums.voxels);
  region.peak = sums.peak;
  region.label = sums.label;
  for (int row = 0; row < 3; ++row) {
    region.centre[row] = affine[4 * row + 3];
    for (int axis = 0; axis < 3; ++axis) region.centre[row] += affine[4 * row + axis] * index[axis];
  }
  return region;
}

}  // namespace

int64_t least_voxels(double voxel, double least_ml) {
  // a region of just that size counts, whatever the rounding of a voxel's volume
  return std::max<int64_t>(1, int64_t(std::ceil(least_ml / voxel - 1e-6)));
}

int64_t anomaly_mask_workspace(Shape shape, int threads) {
  return MaskScratch(nullptr, shape, threads).bytes;
}

void anomaly_mask(const float* anomaly, float threshold, int64_t least, uint8_t* out, Shape shape,
                  void* workspace, int threads) {
  const MaskScratch scratch(workspace, shape, threads);
  const int64_t voxels = shape.voxels();
  each(voxels, threads, [&](int64_t i) { scratch.above[i] = threshold <= anomaly[i]; });
  DAL_DISPATCH(remove_small, scratch.above, out, scratch.components, connected(shape), least, threads);
}

int64_t region_table_workspace(Shape shape, int64_t least, int threads) {
  return RegionScratch(nullptr, shape, least, threads).bytes;
}

int64_t region_table(const float* anomaly, const uint8_t* mask, const double affine[16], int64_t least,
                     Region* out, int64_t capacity, Shape shape, void* workspace, int threads) {
  const RegionScratch s(workspace, shape, least, threads);
  DAL_DISPATCH(components3d, mask, s.labels, s.components, connected(shape), threads);
  checkpoint();
  const int64_t count = sum_up(anomaly, s.labels, shape.voxels(), s.most, s.sums);
  std::sort(s.sums, s.sums + count, [](const Sums& a, const Sums& b) {
    return a.peak != b.peak ? a.peak > b.peak : a.label < b.label;
  });
  for (int64_t i = 0; i < std::min(count, capacity); ++i) out[i] = describe(s.sums[i], affine, shape);
  return count;
}

}  // namespace dal
