// Carries out what grid.cpp plans, with the kernels `separable` and `oblique`.
#include <algorithm>
#include <cmath>

#include "chain/grid.h"
#include "chain/linear.h"
#include "chain/rounding.h"
#include "integers.h"
#include "oblique/oblique.h"
#include "separable/separable.h"

namespace dal {
namespace {

// Index and weight of every tap of an axis: (taps, count).
struct Taps {
  int32_t* index;
  float* weight;
  int64_t taps, count;
};

Taps take_taps(Parts& parts, int64_t taps, int64_t count) {
  return {parts.take<int32_t>(taps * count), parts.take<float>(taps * count), taps, count};
}

int64_t linear_taps_of(double spacing) { return int64_t(std::ceil(2 * std::max(1.0, std::abs(spacing)))); }
int64_t gaussian_radius(double sigma) { return int64_t(std::ceil(3 * sigma)); }

double kept(double position, int64_t size) { return std::min(std::max(position, 0.0), double(size - 1)); }
bool inside(double position, int64_t size) { return position >= -0.5 && position <= double(size) - 0.5; }

// Whether every sample lies on a voxel.
bool on_voxels(double step, double offset, int64_t count) {
  if (!(std::abs(step) < 1 + 1e-6)) return false;
  for (int64_t i = 0; i < count; ++i) {
    const double position = step * double(i) + offset;
    if (!(std::abs(position - nearest_whole(position)) < 1e-4)) return false;
  }
  return true;
}

// The triangle max(0, 1 - |s - t| / r) around each position t, normalised, or the nearest voxel.
void lay_linear(double step, double offset, int64_t size, bool nearest, Taps& to) {
  if (nearest || on_voxels(step, offset, to.count)) to.taps = 1, nearest = true;
  const double radius = std::max(1.0, std::abs(step));
  for (int64_t i = 0; i < to.count; ++i) {
    const double where = step * double(i) + offset, position = kept(where, size);
    if (nearest) {
      to.index[i] = int32_t(nearest_whole(position)), to.weight[i] = inside(where, size);
      continue;
    }
    const auto begin = int64_t(std::floor(position - radius)) + 1;
    const auto weight_of = [&](int64_t t) {
      const int64_t voxel = begin + t;
      if (voxel < 0 || voxel >= size) return 0.0;
      return std::max(0.0, 1 - std::abs(double(voxel) - position) / radius);
    };
    double sum = 0;
    for (int64_t t = 0; t < to.taps; ++t) sum += weight_of(t);
    for (int64_t t = 0; t < to.taps; ++t) {
      to.index[t * to.count + i] = int32_t(std::min(std::max(begin + t, int64_t(0)), size - 1));
      to.weight[t * to.count + i] = float(inside(where, size) ? weight_of(t) / sum : 0.0);
    }
  }
}

// A Gaussian, cut at three sigma, the edge voxels repeating.
void lay_gaussian(double sigma, Taps& to) {
  const int64_t radius = (to.taps - 1) / 2;
  const auto weight_of = [&](int64_t t) {
    const double far = radius ? double(t - radius) / sigma : 0;
    return std::exp(-0.5 * far * far);
  };
  double sum = 0;
  for (int64_t t = 0; t < to.taps; ++t) sum += weight_of(t);
  for (int64_t t = 0; t < to.taps; ++t)
    for (int64_t i = 0; i < to.count; ++i) {
      to.index[t * to.count + i] = int32_t(std::min(std::max(i + t - radius, int64_t(0)), to.count - 1));
      to.weight[t * to.count + i] = float(weight_of(t) / sum);
    }
}

// What separable3d needs at most, of which the taps' places are not known yet.
int64_t most_bytes(const int64_t (&size)[3], double reach, int threads) {
  const int64_t longest = std::max(size[0], std::max(size[1], size[2]));
  const auto rows = std::min(longest, int64_t(std::ceil(reach)));
  return int64_t(sizeof(float)) * threads * (16 * rows + 17) * longest;
}

// Parts of the workspace.
struct Scratch {
  Taps taps[3];
  float* smooth;  // the source's part, smoothed
  void* separable;
};

Scratch scratch_of(const ResamplePlan& plan, Parts& parts, int threads) {
  Scratch s{};
  double reach = 0;
  if (plan.aligned) {
    for (int a = 0; a < 3; ++a) {
      const double step = std::abs(plan.steps[plan.axes[a]][a]);
      s.taps[a] = take_taps(parts, plan.nearest ? 1 : linear_taps_of(step), plan.inner[a]);
      reach = std::max(reach, 32 * step + 2 * std::max(1.0, step) + 3);
    }
  } else if (plan.smoothed) {
    for (int a = 0; a < 3; ++a) {
      const int64_t radius = gaussian_radius(plan.sigma[a]);
      s.taps[a] = take_taps(parts, 2 * radius + 1, plan.size[a]);
      reach = std::max(reach, double(32 + 2 * radius + 2));
    }
    s.smooth = parts.take<float>(plan.size[0] * plan.size[1] * plan.size[2]);
  }
  if (reach > 0) s.separable = parts.take<char>(most_bytes(plan.size, reach, threads));
  return s;
}

AxisTaps axis_taps(const Taps& taps, int64_t size, int64_t stride) {
  return {taps.index, taps.weight, taps.taps, taps.count, size, stride};
}

const void* at(const void* x, Voxel kind, int64_t offset) {
  const int64_t bytes = kind == Voxel::f32 ? 4 : kind == Voxel::i16 ? 2 : 1;
  return static_cast<const char*>(x) + offset * bytes;
}

void along_axes(const ResamplePlan& plan, const void* x, Voxel kind, Scratch& s, float* out, int threads) {
  Separable separable{};
  for (int a = 0; a < 3; ++a) {
    const int axis = plan.axes[a];
    lay_linear(plan.steps[axis][a], plan.steps[axis][3], plan.size[axis], plan.nearest, s.taps[a]);
    separable.axes[a] = axis_taps(s.taps[a], plan.size[axis], plan.stride[axis]);
  }
  separable.stride_d = plan.shape.height * plan.shape.width, separable.stride_h = plan.shape.width;
  DAL_DISPATCH(separable3d, x, kind, separable, out, s.separable, threads);
}

void obliquely(const ResamplePlan& plan, const void* x, Voxel kind, Scratch& s, float* out, int threads) {
  Oblique oblique{};
  const int64_t packed[3] = {plan.size[1] * plan.size[2], plan.size[2], 1};
  for (int a = 0; a < 3; ++a)
    oblique.axes[a] = {plan.size[a],     plan.smoothed ? packed[a] : plan.stride[a],
                       plan.steps[a][3], plan.steps[a][0],
                       plan.steps[a][1], plan.steps[a][2]};
  oblique.depth = plan.inner[0], oblique.height = plan.inner[1], oblique.width = plan.inner[2];
  oblique.stride_d = plan.shape.height * plan.shape.width, oblique.stride_h = plan.shape.width;
  oblique.nearest = plan.nearest;
  if (plan.smoothed) {
    Separable separable{};
    for (int a = 0; a < 3; ++a) {
      lay_gaussian(plan.sigma[a], s.taps[a]);
      separable.axes[a] = axis_taps(s.taps[a], plan.size[a], plan.stride[a]);
    }
    separable.stride_d = packed[0], separable.stride_h = packed[1];
    DAL_DISPATCH(separable3d, x, kind, separable, s.smooth, s.separable, threads);
    x = s.smooth, kind = Voxel::f32;
  }
  DAL_DISPATCH(oblique3d, x, kind, oblique, out, threads);
}

}  // namespace

int64_t resample_workspace(const ResamplePlan& plan, int threads) {
  if (plan.nothing) return 0;
  Parts parts(nullptr);
  scratch_of(plan, parts, threads);
  return parts.used();
}

int64_t most_resample_workspace(Shape source, int threads) {
  constexpr int64_t kTaps = 8 << 20;  // bytes for those of three axes
  const int64_t size[3] = {source.depth, source.height, source.width};
  const double whole = double(std::max({size[0], size[1], size[2]}));
  return source.voxels() * int64_t(sizeof(float)) + most_bytes(size, whole, threads) + kTaps;
}

void resample(const ResamplePlan& plan, const void* x, Voxel kind, float* out, void* workspace,
              int threads) {
  const Shape shape = plan.shape;
  const int64_t sides[3] = {shape.depth, shape.height, shape.width};
  if (plan.nothing || !std::equal(sides, sides + 3, plan.inner)) std::fill_n(out, shape.voxels(), 0.f);
  if (plan.nothing) return;
  Parts parts(workspace);
  Scratch scratch = scratch_of(plan, parts, threads);
  float* const corner = out + (plan.first[0] * shape.height + plan.first[1]) * shape.width + plan.first[2];
  const void* const from = at(x, kind, plan.offset);
  if (plan.aligned)
    along_axes(plan, from, kind, scratch, corner, threads);
  else
    obliquely(plan, from, kind, scratch, corner, threads);
}

}  // namespace dal
