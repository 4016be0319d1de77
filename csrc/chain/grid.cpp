#include "chain/grid.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "chain/linear.h"
#include "chain/rounding.h"
#include "integers.h"

namespace dal {
namespace {

// A box in the world that grows.
struct Extent {
  double low[3], high[3];
  Extent() {
    for (int a = 0; a < 3; ++a) {
      low[a] = std::numeric_limits<double>::infinity();
      high[a] = -low[a];
    }
  }
  void add(const Affine& affine, int64_t i, int64_t j, int64_t k) {
    for (int a = 0; a < 3; ++a) {
      const double at = affine.along(a, double(i), double(j), double(k));
      low[a] = std::min(low[a], at);
      high[a] = std::max(high[a], at);
    }
  }
  bool empty() const { return !(low[0] <= high[0]); }
};

// The outermost voxels of a mask are the first and the last of its lines.
Extent extent_of(const SourceGrid& scan, const uint8_t* mask, const Affine& affine) {
  Extent extent;
  const int64_t *const n = scan.size, *const s = scan.stride;
  for (int64_t k = 0; k < n[2]; ++k)
    for (int64_t j = 0; j < n[1]; ++j) {
      const uint8_t* const line = mask + j * s[1] + k * s[2];
      int64_t first = 0, last = n[0] - 1;
      while (first <= last && !line[first * s[0]]) ++first;
      while (first <= last && !line[last * s[0]]) --last;
      if (first > last) continue;
      extent.add(affine, first, j, k);
      extent.add(affine, last, j, k);
    }
  return extent;
}

Extent extent_of(const SourceGrid& scan, const Affine& affine) {
  Extent extent;
  for (int corner = 0; corner < 8; ++corner)
    extent.add(affine, corner & 1 ? scan.size[0] - 1 : 0, corner & 2 ? scan.size[1] - 1 : 0,
               corner & 4 ? scan.size[2] - 1 : 0);
  return extent;
}

// First and last index within `sizes` that a transformed box and its reach touch.
void transformed_box(const Affine& transform, const double (&low)[3], const double (&high)[3],
                     const int64_t (&sizes)[3], double reach, int64_t (&first)[3], int64_t (&last)[3]) {
  for (int a = 0; a < 3; ++a) {
    double least = std::numeric_limits<double>::infinity(), most = -least;
    for (int corner = 0; corner < 8; ++corner) {
      const double at = transform.along(a, corner & 1 ? high[0] : low[0], corner & 2 ? high[1] : low[1],
                                        corner & 4 ? high[2] : low[2]);
      least = std::min(least, at);
      most = std::max(most, at);
    }
    first[a] = int64_t(std::min(double(sizes[a]), std::max(0.0, std::floor(least - reach))));
    last[a] = int64_t(std::max(-1.0, std::min(double(sizes[a] - 1), std::ceil(most + reach))));
  }
}

constexpr double kAlignedVoxels = 0.1;  // no voxel further than this from where it would be

// Whether each axis of the result runs along one of the source; which.
bool aligned_axes(const double (&steps)[3][4], const int64_t (&inner)[3], int (&axes)[3]) {
  bool taken[3] = {};
  for (int column = 0; column < 3; ++column) {
    axes[column] = 0;
    for (int row = 1; row < 3; ++row)
      if (std::abs(steps[row][column]) > std::abs(steps[axes[column]][column])) axes[column] = row;
    if (taken[axes[column]]) return false;
    taken[axes[column]] = true;
  }
  for (int row = 0; row < 3; ++row) {
    double drift = 0;
    for (int column = 0; column < 3; ++column)
      if (axes[column] != row) drift += std::abs(steps[row][column]) * double(inner[column]);
    if (!(drift <= kAlignedVoxels)) return false;
  }
  return true;
}

// What the target grid cannot hold is removed along the source's own axes: the spacing that counts is that
// of the target's axis closest to each.
bool lay_sigma(const Affine& source, const Affine& target, double (&sigma)[3]) {
  bool any = false;
  for (int a = 0; a < 3; ++a) {
    double closest = -1, spacing = 1;
    for (int b = 0; b < 3; ++b) {
      double dot = 0;
      for (int row = 0; row < 3; ++row)
        dot += source.of[row][a] / source.column_norm(a) * (target.of[row][b] / target.column_norm(b));
      if (std::abs(dot) > closest) {
        closest = std::abs(dot);
        spacing = target.column_norm(b) / source.column_norm(a);
      }
    }
    const bool coarser = spacing > 1 + 1e-6;
    sigma[a] = coarser ? std::sqrt((spacing * spacing - 1) / 6) : 0;
    any = any || coarser;
  }
  return any;
}

}  // namespace

bool plan_model_grid(const SourceGrid& scan, const uint8_t* mask, const GridSettings& settings,
                     ModelGrid* grid) {
  const Affine affine = affine_of(scan.affine);
  const Extent extent = mask ? extent_of(scan, mask, affine) : extent_of(scan, affine);
  if (extent.empty()) return false;
  // wide enough that starting on a scan voxel's centre, below, cuts nothing off
  const double half = (affine.column_norm(0) + affine.column_norm(1) + affine.column_norm(2)) / 2;
  const double margin = std::max(settings.margin_mm, half), voxel = settings.voxel_mm;
  int64_t sides[3];
  Affine origin{}, voxels{};
  for (int a = 0; a < 3; ++a) {
    const double low = extent.low[a] - margin, high = extent.high[a] + margin;
    const auto count = int64_t(std::floor((high - low) / voxel + 1e-6)) + 1;
    sides[a] = ceil_div(count, settings.multiple) * settings.multiple;
    origin.of[a][3] = (low + high - double(sides[a] - 1) * voxel) / 2;
  }
  // the scan voxel nearest to the origin: on aligned axes the grids share that voxel's centre
  if (!solved(affine, origin, &voxels)) return false;
  double corner[3];
  for (int a = 0; a < 3; ++a) corner[a] = nearest_whole(nearest_whole(voxels.of[a][3] * 1e6) / 1e6);
  grid->shape = {sides[0], sides[1], sides[2]};
  for (int row = 0; row < 4; ++row)
    for (int column = 0; column < 4; ++column)
      grid->affine[4 * row + column] = row != column ? 0 : row == 3 ? 1 : voxel;
  for (int a = 0; a < 3; ++a) grid->affine[4 * a + 3] = affine.along(a, corner[0], corner[1], corner[2]);
  return true;
}

ResamplePlan plan_resampling(const SourceGrid& source, Shape shape, const double* affine, bool nearest) {
  ResamplePlan plan{};
  plan.shape = shape, plan.nearest = nearest, plan.nothing = true;
  int order[3] = {0, 1, 2};  // of memory, the outermost first
  for (const int a : {0, 1, 0})
    if (source.stride[order[a]] < source.stride[order[a + 1]]) std::swap(order[a], order[a + 1]);
  const Affine from = affine_of(source.affine, order), to = affine_of(affine);
  Affine transform{}, back{};
  if (!solved(from, to, &transform) || !solved(to, from, &back)) return plan;
  const int64_t sides[3] = {shape.depth, shape.height, shape.width};
  int64_t sizes[3], last[3], first[3], source_last[3];
  double low[3] = {-0.5, -0.5, -0.5}, high[3];
  for (int a = 0; a < 3; ++a) sizes[a] = source.size[order[a]], high[a] = double(sizes[a]) - 0.5;
  transformed_box(back, low, high, sides, 0, plan.first, last);
  double spacing = 1;
  for (int a = 0; a < 3; ++a) {
    if (last[a] < plan.first[a]) return plan;
    plan.inner[a] = last[a] - plan.first[a] + 1;
    low[a] = double(plan.first[a]), high[a] = double(last[a]);
    spacing = std::max(spacing, transform.column_norm(a));
  }
  transformed_box(transform, low, high, sizes, 2 * spacing + 2, first, source_last);
  for (int a = 0; a < 3; ++a) {
    if (source_last[a] < first[a]) return plan;
    plan.size[a] = source_last[a] - first[a] + 1;
    plan.stride[a] = source.stride[order[a]];
    plan.offset += first[a] * plan.stride[a];
    for (int column = 0; column < 3; ++column) plan.steps[a][column] = transform.of[a][column];
    plan.steps[a][3] = transform.along(a, low[0], low[1], low[2]) - double(first[a]);
  }
  plan.nothing = false;
  plan.aligned = aligned_axes(plan.steps, plan.inner, plan.axes);
  plan.smoothed = !plan.aligned && !nearest && lay_sigma(from, to, plan.sigma);
  return plan;
}

}  // namespace dal
