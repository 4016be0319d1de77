#include "chain/brainshape.h"

#include <algorithm>
#include <cmath>

#include "chain/brain.h"
#include "chain/rounding.h"

namespace dal {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kShares[7] = {0.01, 0.02, 0.05, 0.5, 0.95, 0.98, 0.99};  // of the volume
constexpr double kWidth[2] = {0.62, 0.98}, kHeight[2] = {0.58, 1.02};  // as shares of the length
constexpr double kLeastSymmetry = 0.9, kLeastEnd = -0.003, kForemostMiddle = 0.49;
constexpr int64_t kShifts = 3;  // voxels by which the mirror's plane may be off the middle, times 2

// Voxels in every plane across each axis, and the box around the mask.
struct Profiles {
  int64_t* areas[3];
  int64_t first[3], end[3], voxels = 0, bytes;

  Profiles(void* workspace, Shape s) {
    Parts parts(workspace);
    for (int axis = 0; axis < 3; ++axis) areas[axis] = parts.take<int64_t>(side(s, axis));
    bytes = parts.used();
  }
  static int64_t side(Shape s, int axis) { return axis == 0 ? s.depth : axis == 1 ? s.height : s.width; }

  void count(const uint8_t* mask, Shape s) {
    for (int axis = 0; axis < 3; ++axis) std::fill_n(areas[axis], side(s, axis), int64_t(0));
    for (int64_t d = 0; d < s.depth; ++d)
      for (int64_t h = 0; h < s.height; ++h) {
        const uint8_t* const row = mask + (d * s.height + h) * s.width;
        int64_t inside = 0;
        for (int64_t w = 0; w < s.width; ++w) {
          inside += row[w];
          areas[2][w] += row[w];
        }
        areas[0][d] += inside;
        areas[1][h] += inside;
        voxels += inside;
      }
    for (int axis = 0; axis < 3; ++axis) {
      first[axis] = 0, end[axis] = side(s, axis);
      while (end[axis] > 0 && areas[axis][end[axis] - 1] == 0) --end[axis];
      while (first[axis] < end[axis] && areas[axis][first[axis]] == 0) ++first[axis];
    }
  }

  // Position from the box's beginning below which a share of the volume lies, plus `ahead`.
  double quantile(int axis, double share, int64_t ahead = 0) const {
    int64_t before = 0, at = first[axis];
    const auto edge = [&](int64_t sum) { return double(sum) / double(voxels); };
    while (at + 1 < end[axis] && edge(before + areas[axis][at]) <= share) before += areas[axis][at++];
    const double low = edge(before), slope = 1 / (edge(before + areas[axis][at]) - low);
    return slope * (share - low) + double(at - first[axis] + ahead);
  }
};

bool within(double value, const double limits[2]) { return limits[0] <= value && value <= limits[1]; }

// Voxels inside both of two planes, within the box.
int64_t overlap(const uint8_t* mask, Shape s, const Profiles& p, int64_t a, int64_t b) {
  int64_t both = 0;
  for (int64_t h = p.first[1]; h < p.end[1]; ++h) {
    const uint8_t* const one = mask + (a * s.height + h) * s.width;
    const uint8_t* const other = mask + (b * s.height + h) * s.width;
    for (int64_t w = p.first[2]; w < p.end[2]; ++w) both += one[w] & other[w];
  }
  return both;
}

// Dice of the mask with its mirror image along the first axis, across the best plane.
double symmetry_of(const uint8_t* mask, Shape s, const Profiles& p) {
  const int64_t size = p.end[0] - p.first[0], around = 3 * size;
  const int64_t offset = round_half_even(2 * p.quantile(0, 0.5, size)) - around;
  int64_t best = 0;
  for (int64_t shift = offset - kShifts; shift <= offset + kShifts; ++shift) {
    int64_t both = 0;
    for (int64_t i = size; i < 2 * size; ++i) {
      const int64_t from = i - shift, turned = from - floor_div(from, around) * around;
      const int64_t partner = around - 1 - turned - size;
      if (partner < 0 || partner >= size) continue;
      both += overlap(mask, s, p, p.first[0] + i - size, p.first[0] + partner);
    }
    best = std::max(best, both);
  }
  return double(best) / double(std::max<int64_t>(1, p.voxels));
}

}  // namespace

double sphericity(const uint8_t* mask, double voxel_mm, Shape s) {
  const int64_t steps[3] = {s.height * s.width, s.width, 1}, sides[3] = {s.depth, s.height, s.width};
  int64_t inside = 0, faces[3] = {};
  for (int64_t d = 0; d < s.depth; ++d)
    for (int64_t h = 0; h < s.height; ++h)
      for (int64_t w = 0; w < s.width; ++w) {
        const int64_t place[3] = {d, h, w};
        const uint8_t* const at = mask + (d * s.height + h) * s.width + w;
        inside += *at;
        for (int axis = 0; axis < 3; ++axis) {
          faces[axis] += place[axis] == 0 ? *at : *at != at[-steps[axis]];
          if (place[axis] == sides[axis] - 1) faces[axis] += *at;
        }
      }
  const double cube = voxel_mm * voxel_mm * voxel_mm, volume = double(inside) * cube;
  double area = 0;
  for (const int64_t count : faces) area += double(count) * cube / voxel_mm / 1.5;
  return std::pow(kPi, 1.0 / 3) * std::pow(6 * volume, 2.0 / 3) / area;
}

int64_t brain_shape_workspace(Shape shape) { return Profiles(nullptr, shape).bytes; }

uint32_t unusual_shape(const uint8_t* mask, Shape s, void* workspace, double& symmetry) {
  Profiles p(workspace, s);
  p.count(mask, s);
  symmetry = 0;
  if (p.voxels == 0) return 0;
  double at[3][7];
  for (int axis = 0; axis < 3; ++axis)
    for (int share = 0; share < 7; ++share) at[axis][share] = p.quantile(axis, kShares[share]);
  const double* const up = at[2];
  const double back = at[1][1], length = std::max(at[1][5] - back, 1e-6);
  const double end = ((up[2] - up[0]) - (up[6] - up[4])) / std::max(up[6] - up[0], 1e-6);
  symmetry = symmetry_of(mask, s, p);
  uint32_t odd = 0;
  if (!within((at[0][5] - at[0][1]) / length, kWidth)) odd |= kOddWidth;
  if (!within((up[5] - up[1]) / length, kHeight)) odd |= kOddHeight;
  if (!(symmetry >= kLeastSymmetry)) odd |= kOddHalves;
  if (!(end >= kLeastEnd)) odd |= kUpsideDown;
  if (!((at[1][3] - back) / length <= kForemostMiddle)) odd |= kTurnedRound;
  return odd;
}

}  // namespace dal
