// Sobel gradient and its magnitude for the rows of one plane of a tile. All values are 32 times the
// gradient: the thresholds are scaled instead, which is exact.
//
//   t = a + 2 c + d, e = d - a         smooth and difference over planes z-1, z, z+1, at rows y-1, y, y+1
//   p = t- + 2 t0 + t+                 smooth in z and y    -> gx = p[x+1] - p[x-1]
//   q = t+ - t-                        smooth in z, diff y  -> gy = q[x-1] + 2 q[x] + q[x+1]
//   r = e- + 2 e0 + e+                 diff in z, smooth y  -> gz = r[x-1] + 2 r[x] + r[x+1]
#pragma once
#include <cstdint>

#include "canny3d/plan.h"

namespace dal {
namespace DAL_ISA {
namespace {

template <class A>
DAL_INLINE vec<A> smooth3(vec<A> before, vec<A> here, vec<A> after) {
  return before + (here + here) + after;
}

// The edge voxel repeats: one value before the row, one behind its last voxel.
template <class A>
DAL_INLINE void repeat_ends(A* row, int64_t width) {
  row[-1] = row[0];
  row[width] = row[width - 1];
}

template <class A>
struct Gradient {
  const Plan<A>& plan;
  const Scratch<A>& scratch;
  Range y;  // rows that get a gradient

  // A row of 32 M with a margin of one voxel on either side.
  const A* magnitude(int64_t z, int64_t row) const { return scratch.magnitude_row[index(z, row)]; }
  // gx, gy and gz lie one after the other, each `wide` long.
  A* gradient(int64_t z, int64_t row) const {
    return scratch.gradient + (z % 2 * (plan.rows + 2) + row - y.begin) * 3 * plan.wide;
  }

  // smoothed(z, row): a row of s, for z and row inside the volume.
  template <class Smoothed>
  void differentiate_plane(int64_t z, Smoothed smoothed) const {
    const int64_t z_before = std::max<int64_t>(z - 1, 0), z_after = std::min(z + 1, plan.depth - 1);
    for (int64_t row = y.begin; row < y.end; ++row) {
      const int64_t at[3] = {std::max<int64_t>(row - 1, 0), row, std::min(row + 1, plan.height - 1)};
      const A* s[9];
      for (int i = 0; i < 3; ++i) {
        s[i] = smoothed(z_before, at[i]);
        s[3 + i] = smoothed(z, at[i]);
        s[6 + i] = smoothed(z_after, at[i]);
      }
      const A** const entry = scratch.magnitude_row + index(z, row);
      *entry = scratch.zeros;
      if (std::all_of(s, s + 9, [&](const A* r) { return r == scratch.zeros; })) continue;
      A* const out = scratch.magnitude + index(z, row) * (plan.wide + 2 * plan.pad) + plan.pad;
      combine_zy(s);
      combine_x(out, gradient(z, row));
      *entry = out;
    }
  }

 private:
  int64_t index(int64_t z, int64_t row) const { return z % 3 * (plan.rows + 2) + row - y.begin; }
  A* combined(int i) const { return scratch.sobel + i * (plan.wide + 2 * plan.pad) + plan.pad; }

  // s: three rows of plane z-1, three of z, three of z+1.
  void combine_zy(const A* const* s) const {
    A *const p = combined(0), *const q = combined(1), *const r = combined(2);
    const int64_t wide = plan.wide;
    for (int64_t x = 0; x < wide; x += lanes<A>) {
      vec<A> t[3], e[3];
      for (int i = 0; i < 3; ++i) {
        const vec<A> before = load(s[i] + x), after = load(s[6 + i] + x);
        t[i] = smooth3<A>(before, load(s[3 + i] + x), after);
        e[i] = after - before;
      }
      store(p + x, smooth3<A>(t[0], t[1], t[2]));
      store(q + x, t[2] - t[0]);
      store(r + x, smooth3<A>(e[0], e[1], e[2]));
    }
    repeat_ends(p, plan.width);
    repeat_ends(q, plan.width);
    repeat_ends(r, plan.width);
  }

  void combine_x(A* magnitude, A* gradient) const {
    const A *const p = combined(0), *const q = combined(1), *const r = combined(2);
    const int64_t wide = plan.wide;
    for (int64_t x = 0; x < wide; x += lanes<A>) {
      const vec<A> gx = load(p + x + 1) - load(p + x - 1);
      const vec<A> gy = smooth3<A>(load(q + x - 1), load(q + x), load(q + x + 1));
      const vec<A> gz = smooth3<A>(load(r + x - 1), load(r + x), load(r + x + 1));
      store(gradient + x, gx);
      store(gradient + wide + x, gy);
      store(gradient + 2 * wide + x, gz);
      store(magnitude + x, root(gx * gx + gy * gy + gz * gz));
    }
    repeat_ends(magnitude, plan.width);
  }
};

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
