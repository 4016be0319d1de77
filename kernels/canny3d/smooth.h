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

  const A* smoothed(int64_t z, int64_t row) const { return scratch.smoothed_row[smoothed_index(z, row)]; }

  // Loads plane z and blurs it in y and x.
  template <int R>
  void blur_plane(int64_t z) const {
    const Range needed = y.grown(plan.radius, plan.height);
    for (int64_t row = needed.begin; row < needed.end; ++row) take_row(z, row, row - needed.begin);
    const auto as_is = [](vec<A> sum, int64_t) { return sum; };
    A* const line = scratch.line;
    for (int64_t field = 0; field < plan.fields(); ++field)
      for (int64_t row = y.begin; row < y.end; ++row) {
        const int64_t index = blurred_index(field, z, row);
        const bool live = gather(row, needed, [&](int64_t at) {
          return scratch.loaded_row[field * plan.loaded_rows() + at - needed.begin];
        });
        scratch.blurred_row[index] = scratch.zeros;
        if (!live) continue;
        blur_taken<R>(as_is, line);
        std::fill(line + plan.width, line + plan.wide, A(0));
        A* const out = scratch.blurred + index * plan.wide;
        blur_row<R>(shared.taps, plan.radius, plan.wide, [=](int64_t k) { return line + k; }, as_is, out);
        scratch.blurred_row[index] = out;
      }
  }

  // Blurs plane z in z, once the planes around it are blurred, and normalises it.
  template <int R>
  void smooth_plane(int64_t z) const {
    const auto blurred = [&](int64_t field, int64_t row) {
      return gather(z, {0, plan.depth}, [&, field, row](int64_t at) {
        return scratch.blurred_row[blurred_index(field, at, row)];
      });
    };
    const A *const scale_x = shared.scale_x, *const numerator = scratch.numerator;
    for (int64_t row = y.begin; row < y.end; ++row) {
      const int64_t index = smoothed_index(z, row);
      scratch.smoothed_row[index] = scratch.zeros;
      if (!blurred(0, row)) continue;
      A* const out = scratch.smoothed + index * plan.wide;
      scratch.smoothed_row[index] = out;
      if (!mask) {
        const A scale = shared.scale_z[z] * shared.scale_y[row];
        blur_taken<R>([=](vec<A> sum, int64_t x) { return poison(sum * (scale * load(scale_x + x))); },
                      out);
        continue;
      }
      blur_taken<R>([](vec<A> sum, int64_t) { return sum; }, scratch.numerator);
      blurred(1, row);
      const auto divide = [=](vec<A> weight, int64_t x) {
        return poison(select<A>(weight > 0, load(numerator + x) / weight, vec<A>{}));
      };
      blur_taken<R>(divide, out);
    }
  }

 private:
  int64_t blurred_index(int64_t field, int64_t z, int64_t row) const {
    return (field * plan.ring() + z % plan.ring()) * (plan.rows + 4) + row - y.begin;
  }
  int64_t smoothed_index(int64_t z, int64_t row) const { return z % 3 * (plan.rows + 4) + row - y.begin; }

  void take_row(int64_t z, int64_t row, int64_t index) const {
    const int64_t first = (z * plan.height + row) * plan.width;
    A* const buffer = scratch.loaded + index * plan.wide;
    const A* values = rows.take(first, plan.width, buffer);
    if (z + 1 < plan.depth) rows.prefetch(first + plan.height * plan.width, plan.width);
    if (mask) {
      const int64_t second = plan.loaded_rows();
      A* const weights = buffer + second * plan.wide;
      apply_mask(mask + first, plan.width, buffer, weights);
      scratch.loaded_row[second + index] = is_zero(weights, plan.wide) ? scratch.zeros : weights;
    }
    scratch.loaded_row[index] = is_zero(values, plan.wide) ? scratch.zeros : values;
  }

  // Collects the rows from position centre - R to centre + R; false if all of them are zero.
  template <class Row>
  bool gather(int64_t centre, Range inside, Row row) const {
    bool live = false;
    for (int64_t k = -plan.radius; k <= plan.radius; ++k) {
      const int64_t at = centre + k;
      const A* const taken = at >= inside.begin && at < inside.end ? row(at) : scratch.zeros;
      scratch.taken[plan.radius + k] = taken;
      live |= taken != scratch.zeros;
    }
    return live;
  }
  template <int R, class Finish>
  void blur_taken(Finish finish, A* out) const {
    const A* const* centre = scratch.taken + plan.radius;
    blur_row<R>(shared.taps, plan.radius, plan.wide, [=](int64_t k) { return centre[k]; }, finish, out);
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
