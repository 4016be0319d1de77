#include "chain/head.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "chain/rounding.h"
#include "checkpoint.h"
#include "integers.h"
#include "parallel.h"

namespace dal {
namespace {

constexpr double kHeadroomMm = 10, kTallMm = 160;
constexpr double kAir = 0.1, kCeiling = 1.5, kBright = 0.98, kRounding = 1e-5;
constexpr int64_t kSparse = 3;  // every third voxel along an axis is enough for quantiles
constexpr float kTopMl = 2.5f;  // foreground in a slice of 2.5 mm that belongs to a head, not to noise

double length_of(const double column[3]) {
  return std::sqrt(column[0] * column[0] + column[1] * column[1] + column[2] * column[2]);
}

// The inverse of the transpose of m: its cofactors over its determinant.
void inverse_transpose(const double m[9], double out[9]) {
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 3; ++c) {
      const int r1 = (r + 1) % 3, r2 = (r + 2) % 3, c1 = (c + 1) % 3, c2 = (c + 2) % 3;
      out[3 * r + c] = m[3 * r1 + c1] * m[3 * r2 + c2] - m[3 * r1 + c2] * m[3 * r2 + c1];
    }
  const double determinant = m[0] * out[0] + m[1] * out[1] + m[2] * out[2];
  for (int i = 0; i < 9; ++i) out[i] /= determinant;
}

// The rotation closest to m, by Newton's iteration for the polar decomposition.
void closest_rotation(double m[9]) {
  for (int round = 0; round < 60; ++round) {
    double other[9], change = 0;
    inverse_transpose(m, other);
    for (int i = 0; i < 9; ++i) {
      const double next = (m[i] + other[i]) / 2;
      change = std::max(change, std::abs(next - m[i]));
      m[i] = next;
    }
    if (change < 1e-15) return;
  }
}

// For every axis of the scan the world axis closest to it, and in which direction. As nibabel's
// io_orientation: the axis that is closest to any chooses first.
void orientation_of(const double affine[16], int target[3], double direction[3]) {
  double m[9];
  for (int c = 0; c < 3; ++c) {
    const double column[3] = {affine[c], affine[4 + c], affine[8 + c]};
    for (int r = 0; r < 3; ++r) m[3 * r + c] = column[r] / length_of(column);
  }
  closest_rotation(m);
  int order[3] = {0, 1, 2};
  const auto strength = [&m](int c) {
    return std::max(m[c] * m[c], std::max(m[3 + c] * m[3 + c], m[6 + c] * m[6 + c]));
  };
  const double strengths[3] = {strength(0), strength(1), strength(2)};
  for (int i = 1; i < 3; ++i)
    for (int j = i; j > 0 && strengths[order[j]] > strengths[order[j - 1]]; --j)
      std::swap(order[j], order[j - 1]);
  bool taken[3] = {};
  for (const int c : order) {
    int best = -1;
    for (int r = 0; r < 3; ++r)
      if (!taken[r] && (best < 0 || std::abs(m[3 * r + c]) > std::abs(m[3 * best + c]))) best = r;
    taken[best] = true;
    target[c] = best;
    direction[c] = m[3 * best + c] < 0 ? -1 : 1;
  }
}

// The value of rank round(share (n - 1)) among n; their order changes.
double quantile(float* values, int64_t n, double share) {
  float* const kth = values + round_half_even(share * double(n - 1));
  std::nth_element(values, kth, values + n);
  return double(*kth);
}

int64_t sparse(int64_t side) { return ceil_div(side, kSparse); }
int64_t sparse_voxels(const int64_t sides[3]) {
  return sparse(sides[0]) * sparse(sides[1]) * sparse(sides[2]);
}

struct Scratch {
  float* values;
  int64_t *across[2], *up;  // profiles along the three axes
  int64_t bytes;

  Scratch(void* workspace, const HeadCover& cover, Shape shape) {
    const int64_t own[3] = {shape.depth, shape.height, shape.width};
    Parts parts(workspace);
    values = parts.take<float>(std::max(sparse_voxels(cover.sides), sparse_voxels(own)));
    across[0] = parts.take<int64_t>(cover.sides[0]);
    across[1] = parts.take<int64_t>(cover.sides[1]);
    up = parts.take<int64_t>(cover.sides[2]);
    bytes = parts.used();
  }
};

// First index of `wanted` voxels around the bulk of a profile, not beyond its ends.
int64_t around(const int64_t* profile, int64_t n, int64_t wanted) {
  int64_t total = 0;
  for (int64_t i = 0; i < n; ++i) total += profile[i];
  if (total == 0) return floor_div(n - wanted, 2);
  int64_t ends[2], mass = 0, at = 0;
  const double shares[2] = {0.02, 0.98};
  for (int side = 0; side < 2; ++side) {
    const double least = shares[side] * double(total);
    while (double(mass + profile[at]) < least) mass += profile[at++];
    ends[side] = at;
  }
  return std::min(std::max<int64_t>(0, floor_div(ends[0] + ends[1] + 1 - wanted, 2)), n - wanted);
}

float head_level(const float* whole, const int64_t n[3], float* values) {
  int64_t count = 0;
  for (int64_t d = 0; d < n[0]; d += kSparse)
    for (int64_t h = 0; h < n[1]; h += kSparse)
      for (int64_t w = 0; w < n[2]; w += kSparse) values[count++] = whole[(d * n[1] + h) * n[2] + w];
  const double low = quantile(values, count, 0.01), high = quantile(values, count, 0.99);
  return float(low + 2 * kAir * (high - low));
}

// Where the network's volume begins along each axis of the whole scan.
void window(const float* whole, const HeadCover& cover, double voxel_mm, Shape shape, const Scratch& s,
            int64_t first[3]) {
  const int64_t* const n = cover.sides;
  const int64_t wanted[3] = {shape.depth, shape.height, shape.width};
  bool fits = true;
  for (int a = 0; a < 3; ++a) {
    first[a] = -floor_div(wanted[a] - n[a], 2);
    fits &= n[a] <= wanted[a];
  }
  if (fits) return;
  const float level = head_level(whole, n, s.values);
  std::fill_n(s.up, n[2], int64_t(0));
  for (int64_t row = 0; row < n[0] * n[1]; ++row)
    for (int64_t w = 0; w < n[2]; ++w) s.up[w] += whole[row * n[2] + w] > level;
  int64_t top = n[2];
  for (int64_t w = n[2] - 1; w >= 0; --w) {
    const float ml =
        float(s.up[w]) * float(voxel_mm * voxel_mm * voxel_mm) / 1000.f * float(2.5 / voxel_mm);
    if (!(ml > kTopMl)) continue;
    top = w + 1;
    break;
  }
  if (n[2] > wanted[2])
    first[2] =
        std::max<int64_t>(0, std::min(n[2], top + round_half_even(kHeadroomMm / voxel_mm)) - wanted[2]);
  const int64_t low = std::max<int64_t>(0, top - round_half_even(kTallMm / voxel_mm));
  std::fill_n(s.across[0], n[0], int64_t(0));
  std::fill_n(s.across[1], n[1], int64_t(0));
  for (int64_t d = 0; d < n[0]; ++d)
    for (int64_t h = 0; h < n[1]; ++h) {
      int64_t count = 0;
      for (int64_t w = low; w < top; ++w) count += whole[(d * n[1] + h) * n[2] + w] > level;
      s.across[0][d] += count;
      s.across[1][h] += count;
    }
  for (int a = 0; a < 2; ++a)
    if (n[a] > wanted[a]) first[a] = around(s.across[a], n[a], wanted[a]);
}

// The part [begin, end) of the network's axis that lies in the scan.
struct Span {
  int64_t begin, end;
  Span(int64_t first, int64_t side, int64_t wanted)
      : begin(std::min(wanted, std::max<int64_t>(0, -first))),
        end(std::max(begin, std::min(wanted, side - first))) {}
};

// No signal and the brightest tissue, as intensities of the scan; false where there is no contrast.
bool levels_of(const float* x, Shape s, const Span spans[3], float* values, double& low, double& bright) {
  int64_t count = 0;
  const auto sparse_from = [](int64_t begin) { return ceil_div(begin, kSparse) * kSparse; };
  for (int64_t d = sparse_from(spans[0].begin); d < spans[0].end; d += kSparse)
    for (int64_t h = sparse_from(spans[1].begin); h < spans[1].end; h += kSparse)
      for (int64_t w = sparse_from(spans[2].begin); w < spans[2].end; w += kSparse)
        values[count++] = x[(d * s.height + h) * s.width + w];
  if (count == 0) return false;
  low = quantile(values, count, 0.01);
  const double high = quantile(values, count, 0.99);
  const float air = float(low + kAir * (high - low));
  float* const signal = std::partition(values, values + count, [air](float v) { return !(v > air); });
  const int64_t signals = values + count - signal;
  bright = signals ? quantile(signal, signals, kBright) : low;
  return bright - low > kRounding * std::max(std::abs(bright), std::abs(low));
}

}  // namespace

HeadCover cover_head(const int64_t scan_shape[3], const double scan_affine[16], double voxel_mm) {
  int target[3];
  double direction[3];
  orientation_of(scan_affine, target, direction);
  HeadCover cover{{1, 1, 1}, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}};
  for (int axis = 0; axis < 3; ++axis) {
    double column[3];
    for (int r = 0; r < 3; ++r) column[r] = scan_affine[4 * r + axis] * direction[axis];
    const double size = length_of(column);
    for (int r = 0; r < 3; ++r) cover.affine[4 * r + target[axis]] = column[r] * (voxel_mm / size);
    const double covered = std::ceil(size * double(scan_shape[axis]) / voxel_mm - 1e-3);
    cover.sides[target[axis]] = std::max<int64_t>(1, int64_t(covered));
  }
  for (int r = 0; r < 3; ++r) {
    double centre = 0, half = 0;
    for (int axis = 0; axis < 3; ++axis) {
      centre += scan_affine[4 * r + axis] * (double(scan_shape[axis] - 1) / 2);
      half += cover.affine[4 * r + axis] * (double(cover.sides[axis] - 1) / 2);
    }
    cover.affine[4 * r + 3] = scan_affine[4 * r + 3] + centre - half;
  }
  return cover;
}

int64_t place_head_workspace(const HeadCover& cover, Shape shape) {
  return Scratch(nullptr, cover, shape).bytes;
}

void place_head(const float* whole, const HeadCover& cover, double voxel_mm, Shape s, float* out,
                double affine[16], void* workspace, int threads) {
  const Scratch scratch(workspace, cover, s);
  int64_t first[3];
  window(whole, cover, voxel_mm, s, scratch, first);
  checkpoint();
  std::copy_n(cover.affine, 16, affine);
  for (int r = 0; r < 3; ++r)
    for (int axis = 0; axis < 3; ++axis)
      affine[4 * r + 3] += cover.affine[4 * r + axis] * double(first[axis]);
  const Span spans[3] = {Span(first[0], cover.sides[0], s.depth), Span(first[1], cover.sides[1], s.height),
                         Span(first[2], cover.sides[2], s.width)};
  const auto in_rows = [&](auto&& row) {  // of the part that lies in the scan
    parallel_for(spans[0].end - spans[0].begin, threads, [&](int64_t plane, int) {
      const int64_t d = spans[0].begin + plane;
      for (int64_t h = spans[1].begin; h < spans[1].end; ++h) row(d, h, out + (d * s.height + h) * s.width);
    });
  };
  std::fill_n(out, s.voxels(), 0.f);
  in_rows([&](int64_t d, int64_t h, float* to) {
    const int64_t from = ((d + first[0]) * cover.sides[1] + h + first[1]) * cover.sides[2] + first[2];
    std::copy_n(whole + from + spans[2].begin, spans[2].end - spans[2].begin, to + spans[2].begin);
  });
  double low = 0, bright = 0;
  if (!levels_of(out, s, spans, scratch.values, low, bright))
    return void(std::fill_n(out, s.voxels(), 0.f));
  const float base = float(low), range = float(bright - low);
  in_rows([&](int64_t, int64_t, float* row) {
    for (int64_t w = spans[2].begin; w < spans[2].end; ++w)
      row[w] = std::min(std::max((row[w] - base) / range, 0.f), float(kCeiling));
  });
}

void distance_to_faces(const double affine[16], Shape shape, const int64_t scan_shape[3],
                       const double scan_affine[16], float* out) {
  // the linear part of scan voxel <- world, row by row
  double scan[9], back[9];
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 3; ++c) scan[3 * c + r] = scan_affine[4 * r + c];
  inverse_transpose(scan, back);  // of the transpose: the inverse itself
  std::fill_n(out, shape.voxels(), std::numeric_limits<float>::infinity());
  const int64_t sides[3] = {shape.depth, shape.height, shape.width};
  for (int axis = 0; axis < 3; ++axis) {
    double step[3];
    int own = 0;
    for (int r = 0; r < 3; ++r) {
      step[r] = back[3 * r] * affine[axis] + back[3 * r + 1] * affine[4 + axis] +
                back[3 * r + 2] * affine[8 + axis];
      if (std::abs(step[r]) > std::abs(step[own])) own = r;
    }
    double start = 0;
    for (int c = 0; c < 3; ++c) start += back[3 * own + c] * (affine[4 * c + 3] - scan_affine[4 * c + 3]);
    const double column[3] = {scan_affine[own], scan_affine[4 + own], scan_affine[8 + own]};
    const double size = length_of(column), last = double(scan_shape[own]) - 0.5;
    const int64_t inner = axis == 2 ? 1 : axis == 1 ? sides[2] : sides[1] * sides[2];
    const int64_t outer = shape.voxels() / std::max<int64_t>(1, inner * sides[axis]);
    for (int64_t i = 0; i < sides[axis]; ++i) {
      const double at = step[own] * double(i) + start;
      const float mm = float(std::min(at + 0.5, last - at) * size);
      for (int64_t o = 0; o < outer; ++o) {
        float* const to = out + (o * sides[axis] + i) * inner;
        for (int64_t j = 0; j < inner; ++j) to[j] = std::min(to[j], mm);
      }
    }
  }
}

void mirror_head(const float* x, float* out, Shape s) {
  const int64_t plane = s.height * s.width;
  for (int64_t d = 0; d < s.depth; ++d) std::copy_n(x + (s.depth - 1 - d) * plane, plane, out + d * plane);
}

void move_head(const float* x, float* out, Shape s, int step) {
  const auto source = [step](int64_t i, int64_t size) { return ((i - step) % size + size) % size; };
  const int64_t first = source(0, s.width);
  for (int64_t d = 0; d < s.depth; ++d)
    for (int64_t h = 0; h < s.height; ++h, out += s.width) {
      const float* const row = x + (source(d, s.depth) * s.height + source(h, s.height)) * s.width;
      std::rotate_copy(row, row + first, row + s.width, out);
    }
}

}  // namespace dal
