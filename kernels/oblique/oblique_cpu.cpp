// Row by row, of which only the part that lies in the source is sampled, kLanes results at a time: their
// positions along each axis side by side, eight voxels for each, their weighted sum side by side.
//
// The first position of a block is computed in double and split into a whole number and a rest; the others
// count from there, so that float holds them to 1e-6 voxels however large the volume is. Nothing is
// contracted: the bits are the same on every instruction set.
#include <algorithm>
#include <cmath>

#include "oblique/oblique.h"
#include "parallel.h"
#include "simd.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int kLanes = 16;
constexpr int64_t kRows = 16;  // of a task

// Where the positions of a row begin, and a part of it that holds all that lie in the source.
struct Row {
  double start[3];
  int64_t begin, end;

  Row(const Oblique& plan, int64_t d, int64_t h) : begin(0), end(plan.width) {
    for (int a = 0; a < 3; ++a) {
      const ObliqueAxis& axis = plan.axes[a];
      start[a] = axis.offset + double(d) * axis.step_d + double(h) * axis.step_h;
      const double first = -0.5 - start[a], last = double(axis.size) - 0.5 - start[a];
      if (std::abs(axis.step_w) * double(plan.width) < 1e-3) {
        if (first > 0.01 || last < -0.01) end = begin;
        continue;
      }
      const double one = first / axis.step_w, other = last / axis.step_w;
      const double low = std::floor(std::min(one, other)) - 1, high = std::ceil(std::max(one, other)) + 2;
      begin = std::max(begin, int64_t(std::min(std::max(low, 0.0), double(plan.width))));
      end = std::min(end, int64_t(std::min(std::max(high, 0.0), double(plan.width))));
    }
    end = std::max(begin, end);
  }
};

// The positions of kLanes results along one axis.
struct Along {
  int64_t low[kLanes], high[kLanes];  // elements from voxel 0 to the two neighbours
  float share[kLanes];  // of the higher one
};

// Splits positions into voxels and shares; lanes that lie beyond the source lose their `inside`.
DAL_INLINE void split(const ObliqueAxis& axis, double start, bool nearest, Along& to, int32_t* inside) {
  const double whole = std::floor(start);
  const auto rest = float(start - whole), step = float(axis.step_w);
  const auto first = float(-whole), last = float(double(axis.size - 1) - whole);
  int32_t voxel[kLanes], next[kLanes];
  for (int j = 0; j < kLanes; ++j) {
    float p = rest + float(j) * step;
    inside[j] &= (p >= first - 0.5f) & (p <= last + 0.5f);
    p = std::min(std::max(p, first), last);
    const float q = nearest ? p + 0.5f : p;
    int32_t below = int32_t(q);
    below -= float(below) > q;
    voxel[j] = below;
    to.share[j] = p - float(below);
    next[j] = float(below) < last ? below + 1 : below;
  }
  const int64_t base = int64_t(whole) * axis.stride;
  for (int j = 0; j < kLanes; ++j) {
    to.low[j] = base + voxel[j] * axis.stride;
    to.high[j] = base + next[j] * axis.stride;
  }
}

template <class S>
DAL_INLINE void interpolate(const S* x, const Along (&a)[3], float* out) {
  float v[8][kLanes];
  for (int j = 0; j < kLanes; ++j)
    for (int corner = 0; corner < 8; ++corner)
      v[corner][j] =
          float(x[(corner & 4 ? a[0].high[j] : a[0].low[j]) + (corner & 2 ? a[1].high[j] : a[1].low[j]) +
                  (corner & 1 ? a[2].high[j] : a[2].low[j])]);
  for (int axis = 2, half = 4, apart = 1; axis >= 0; --axis, half /= 2, apart *= 2)
    for (int pair = 0; pair < half; ++pair) {
      float* const to = v[2 * apart * pair];
      const float* const other = v[2 * apart * pair + apart];
      for (int j = 0; j < kLanes; ++j) to[j] += (other[j] - to[j]) * a[axis].share[j];
    }
  for (int j = 0; j < kLanes; ++j) out[j] = v[0][j];
}

template <class S>
DAL_INLINE void pick(const S* x, const Along (&a)[3], float* out) {
  for (int j = 0; j < kLanes; ++j) out[j] = float(x[a[0].low[j] + a[1].low[j] + a[2].low[j]]);
}

template <class S>
void sample_row(const S* x, const Oblique& plan, const Row& row, float* out) {
  std::fill_n(out, row.begin, 0.f);
  for (int64_t w = row.begin; w < row.end; w += kLanes) {
    Along along[3];
    int32_t inside[kLanes];
    std::fill_n(inside, kLanes, 1);
    for (int a = 0; a < 3; ++a)
      split(plan.axes[a], row.start[a] + double(w) * plan.axes[a].step_w, plan.nearest, along[a], inside);
    float value[kLanes];
    if (plan.nearest)
      pick(x, along, value);
    else
      interpolate(x, along, value);
    for (int j = 0; j < kLanes; ++j) value[j] = inside[j] ? value[j] : 0.f;
    std::copy_n(value, std::min<int64_t>(kLanes, row.end - w), out + w);
  }
  std::fill_n(out + row.end, plan.width - row.end, 0.f);
}

template <class S>
void run(const S* x, const Oblique& plan, float* out, int threads) {
  const int64_t chunks = ceil_div(plan.height, kRows);
  parallel_for(plan.depth * chunks, threads, [&](int64_t task, int) {
    const int64_t d = task / chunks, first = task % chunks * kRows;
    for (int64_t h = first; h < std::min(first + kRows, plan.height); ++h)
      sample_row(x, plan, Row(plan, d, h), out + d * plan.stride_d + h * plan.stride_h);
  });
}

}  // namespace

void oblique3d(const void* x, Voxel kind, const Oblique& plan, float* out, int threads) {
  switch (kind) {
    case Voxel::f32:
      return run(static_cast<const float*>(x), plan, out, threads);
    case Voxel::u8:
      return run(static_cast<const uint8_t*>(x), plan, out, threads);
    case Voxel::i16:
      return run(static_cast<const int16_t*>(x), plan, out, threads);
  }
}

}  // namespace DAL_ISA
}  // namespace dal
