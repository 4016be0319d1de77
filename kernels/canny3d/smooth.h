// Gaussian smoothing of a tile, plane by plane: y and x blur of an input plane, then the z blur of 2R+1
// of those, normalised by the weight that fell inside the mask (or inside the volume).
#pragma once
#include <cstdint>
#include <cstring>

#include "canny3d/plan.h"
#include "canny3d/source.h"

namespace dal {
namespace DAL_ISA {
namespace {

// out[x] = finish(taps[0] row(0)[x] + sum_k taps[k] (row(-k)[x] + row(k)[x]), x) for x in [0, n), n a
// multiple of the vector. R > 0 fixes the radius at compile time.
template <int R, class A, class Row, class Finish>
DAL_INLINE void blur_row(const A* taps, int64_t radius, int64_t n, Row row, Finish finish, A* out) {
  const A* rows[2 * R + 1];
  vec<A> weights[R + 1];
  for (int k = -R; k <= R; ++k) rows[R + k] = row(k);
  for (int k = 0; k <= R; ++k) weights[k] = broadcast(taps[k]);
  for (int64_t x = 0; x < n; x += lanes<A>) {
    vec<A> sum = weights[0] * load(rows[R] + x);
    if (R) {
      for (int k = 1; k <= R; ++k) sum += weights[k] * (load(rows[R - k] + x) + load(rows[R + k] + x));
    } else {
      for (int64_t k = 1; k <= radius; ++k) sum += taps[k] * (load(row(-k) + x) + load(row(k) + x));
    }
    store(out + x, finish(sum, x));
  }
}

// A value that is not finite becomes a NaN, so that no edge can be where one has spread to.
template <class V>
DAL_INLINE V poison(V v) {
  return v + (v - v);
}

template <class A, class Rows>
struct Smoother {
  const Plan<A>& plan;
  const Shared<A>& shared;
  const Scratch<A>& scratch;
  const Rows& rows;
  const uint8_t* mask;  // of this volume, or null
  Range y;  // rows to smooth

  // Zeros where the blur reads beyond the volume or beyond the row.
  void start() const {
    const int64_t margin = Scratch<A>::margin(plan);
    std::memset(scratch.zeros, 0, sizeof(A) * size_t(plan.wide));
    std::memset(scratch.margin_row, 0, sizeof(A) * size_t(plan.wide + 2 * margin));
    std::memset(scratch.loaded, 0, sizeof(A) * size_t(plan.fields() * plan.loaded_rows() * plan.wide));
  }

  const A* blurred(int64_t field, int64_t z, int64_t row) const { return blurred_at(field, z, row); }
  A* blurred_at(int64_t field, int64_t z, int64_t row) const {
    const int64_t plane = field * plan.ring() + z % plan.ring();
    return scratch.blurred + (plane * (plan.rows + 4) + row - y.begin) * plan.wide;
  }
  A* smoothed(int64_t z, int64_t row) const {
    return scratch.smoothed + (z % 3 * (plan.rows + 4) + row - y.begin) * plan.wide;
  }

  template <int R>
  void blur_plane(int64_t z) const {
    const Range needed = y.grown(plan.radius, plan.height);
    const int64_t field_size = plan.loaded_rows() * plan.wide;
    for (int64_t row = needed.begin; row < needed.end; ++row) {
      A* values = scratch.loaded + (row - needed.begin) * plan.wide;
      const int64_t first = (z * plan.height + row) * plan.width;
      rows.load(first, plan.width, values);
      if (mask) apply_mask(mask + first, plan.width, values, values + field_size);
    }
    A* const wide_row = scratch.margin_row + Scratch<A>::margin(plan);
    const auto as_is = [](vec<A> sum, int64_t) { return sum; };
    for (int64_t field = 0; field < plan.fields(); ++field) {
      const A* loaded = scratch.loaded + field * field_size;
      for (int64_t row = y.begin; row < y.end; ++row) {
        for (int64_t k = -plan.radius; k <= plan.radius; ++k) {
          const bool inside = row + k >= needed.begin && row + k < needed.end;
          scratch.taken[plan.radius + k] =
              inside ? loaded + (row + k - needed.begin) * plan.wide : scratch.zeros;
        }
        const A* const* taken = scratch.taken + plan.radius;
        blur_row<R>(
            shared.taps, plan.radius, plan.wide, [=](int64_t k) { return taken[k]; }, as_is, wide_row);
        blur_row<R>(
            shared.taps, plan.radius, plan.wide, [=](int64_t k) { return wide_row + k; }, as_is,
            blurred_at(field, z, row));
      }
    }
  }

  template <int R>
  void smooth_plane(int64_t z) const {
    for (int64_t row = y.begin; row < y.end; ++row) {
      const A scale = shared.scale_z[z] * shared.scale_y[row];
      const A* scale_x = shared.scale_x;
      const auto normalise = [=](vec<A> sum, int64_t x) {
        return poison(sum * (scale * load(scale_x + x)));
      };
      if (!mask) {
        blur_in_z<R>(0, z, row, normalise, smoothed(z, row));
        continue;
      }
      const A* numerator = scratch.numerator;
      blur_in_z<R>(0, z, row, [](vec<A> sum, int64_t) { return sum; }, scratch.numerator);
      const auto divide = [=](vec<A> weight, int64_t x) {
        return poison(select<A>(weight > 0, load(numerator + x) / weight, vec<A>{}));
      };
      blur_in_z<R>(1, z, row, divide, smoothed(z, row));
    }
  }

  template <int R, class Finish>
  void blur_in_z(int64_t field, int64_t z, int64_t row, Finish finish, A* out) const {
    for (int64_t k = -plan.radius; k <= plan.radius; ++k) {
      const bool inside = z + k >= 0 && z + k < plan.depth;
      scratch.taken[plan.radius + k] = inside ? blurred(field, z + k, row) : scratch.zeros;
    }
    const A* const* taken = scratch.taken + plan.radius;
    blur_row<R>(shared.taps, plan.radius, plan.wide, [=](int64_t k) { return taken[k]; }, finish, out);
  }
};

// scale[i] = 1 / (sum of the taps around i that fall inside an axis of n).
template <class A>
void border_scale(const double* taps, int64_t radius, int64_t n, A* scale) {
  for (int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (int64_t k = -std::min(radius, i); k <= std::min(radius, n - 1 - i); ++k)
      sum += taps[k < 0 ? -k : k];
    scale[i] = A(1 / sum);
  }
}

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
