// How canny3d cuts a volume into tasks, and where each buffer lies in the workspace.
//
// A task owns rows [y0, y1) of planes [z0, z1) and marches along z. Per plane it needs, in rows,
//
//     suppression        y0 ... y1          of 3 planes of magnitude, 1 of gradient
//     magnitude       y0-1 ... y1+1         of 3 planes of smoothed values
//     smoothed        y0-2 ... y1+2         of 2R+1 planes blurred in y and x
//     blurred         y0-2 ... y1+2         of 2R+4+rows rows of one plane of input
//
// so that nothing but the input is read from, and nothing but bits is written to, memory.
#pragma once
#include <algorithm>
#include <cstdint>

#include "simd.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int64_t kLine = 64;  // bytes: every row starts on a cache line and is padded to one
constexpr int64_t kTileBytes = 16384;  // one field of one plane of a tile: some twenty fit into L2
constexpr int64_t kThinnestSlab =
    32;  // planes; each slab blurs 2R + 4 planes that its neighbours also blur

inline int64_t round_up(int64_t n, int64_t step) { return ceil_div(n, step) * step; }

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
  Range grown(int64_t by, int64_t limit) const {
    return {std::max<int64_t>(0, begin - by), std::min(limit, end + by)};
  }
};

// Takes 64-byte aligned arrays one after the other; from base_to_measure_from() it adds up their sizes.
struct Arena {
  uint8_t* base;
  int64_t used = 0;
  template <class T>
  T* take(int64_t count) {
    T* at = reinterpret_cast<T*>(base + used);
    used += round_up(count * int64_t(sizeof(T)), kLine);
    return at;
  }
};

template <class A>
struct Plan {
  int64_t depth, height, width, radius;
  bool masked;
  int64_t pad = kLine / int64_t(sizeof(A));  // values: the margin on either side of a row
  int64_t wide;  // width rounded up to whole lines
  int64_t tiles, rows, slabs, planes;  // tiles of `rows` rows, slabs of `planes` planes
  int64_t words, bit_rows;  // 64-bit words a row of bits; rows of a bit volume with its border of zeros

  Plan(int64_t d, int64_t h, int64_t w, int64_t r, bool with_mask, int threads)
      : depth(d), height(h), width(w), radius(r), masked(with_mask) {
    wide = round_up(width, pad);
    const int64_t most_rows = std::max<int64_t>(8, kTileBytes / (wide * int64_t(sizeof(A))));
    tiles = ceil_div(height, most_rows);
    rows = ceil_div(height, tiles);
    const int64_t wanted = threads > 1 ? ceil_div(3 * int64_t(threads), tiles) : 1;
    slabs = std::max<int64_t>(1, std::min(wanted, depth / kThinnestSlab));
    planes = ceil_div(depth, slabs);
    words = ceil_div(width, 64);
    bit_rows = (depth + 2) * (height + 2);
  }

  int64_t fields() const { return masked ? 2 : 1; }  // smoothed together: m A, and m if there is a mask
  int64_t ring() const { return std::min(2 * radius + 1, depth); }
  int64_t loaded_rows() const { return std::min(rows + 4 + 2 * radius, height); }
  // Row (z, y) of a bit volume, whose border of zeros spares the hysteresis its bounds checks.
  int64_t bit_row(int64_t z, int64_t y) const { return (z + 1) * (height + 2) + y + 1; }
  Range tile(int64_t i) const { return {i * rows, std::min(height, (i + 1) * rows)}; }
  Range slab(int64_t i) const { return {i * planes, std::min(depth, (i + 1) * planes)}; }
};

// One thread's buffers. A plane holds rows from the first that the task needs of it. Rows are reached
// through tables of pointers: a row of zeros (background, or outside the mask or the volume) is never
// computed or stored, its pointer is `zeros`.
template <class A>
struct Scratch {
  A* zeros;  // pad + wide + pad, points behind the margin
  const A** taken;  // the 2R+1 rows being summed
  A* loaded;  // fields x loaded_rows x wide
  const A** loaded_row;
  A* line;  // wide, between margins of at least R zeros; points behind the first margin
  A* blurred;  // fields x ring x (rows + 4) x wide
  const A** blurred_row;
  A* numerator;  // wide
  A* smoothed;  // 3 x (rows + 4) x wide
  const A** smoothed_row;
  A* sobel;  // 3 x (pad + wide + pad)
  A* magnitude;  // 3 x (rows + 2) x (pad + wide + pad)
  const A** magnitude_row;  // each points behind its margin
  A* gradient;  // 2 x (rows + 2) x 3 x wide

  Scratch(const Plan<A>& p, Arena& arena) {
    const int64_t margin = round_up(p.radius, p.pad);
    zeros = arena.take<A>(p.wide + 2 * p.pad) + p.pad;
    taken = arena.take<const A*>(2 * p.radius + 1);
    loaded = arena.take<A>(p.fields() * p.loaded_rows() * p.wide);
    loaded_row = arena.take<const A*>(p.fields() * p.loaded_rows());
    line = arena.take<A>(p.wide + 2 * margin) + margin;
    blurred = arena.take<A>(p.fields() * p.ring() * (p.rows + 4) * p.wide);
    blurred_row = arena.take<const A*>(p.fields() * p.ring() * (p.rows + 4));
    numerator = arena.take<A>(p.wide);
    smoothed = arena.take<A>(3 * (p.rows + 4) * p.wide);
    smoothed_row = arena.take<const A*>(3 * (p.rows + 4));
    sobel = arena.take<A>(3 * (p.wide + 2 * p.pad));
    magnitude = arena.take<A>(3 * (p.rows + 2) * (p.wide + 2 * p.pad));
    magnitude_row = arena.take<const A*>(3 * (p.rows + 2));
    gradient = arena.take<A>(2 * (p.rows + 2) * 3 * p.wide);
  }

  // Zeros wherever a task reads what it has not written.
  void clear(const Plan<A>& p) const {
    const int64_t margin = round_up(p.radius, p.pad);
    std::fill(zeros - p.pad, zeros + p.wide + p.pad, A(0));
    std::fill(line - margin, line + p.wide + margin, A(0));
    std::fill(loaded, loaded + p.fields() * p.loaded_rows() * p.wide, A(0));
  }
};

// What all threads share.
template <class A>
struct Shared {
  A* taps;  // g(0) ... g(R)
  A *scale_z, *scale_y, *scale_x;  // 1 / (sum of the taps that fall inside), by position; without a mask
  uint64_t *weak, *strong;  // bit_rows x words
  int64_t* queue;  // depth x height row numbers
  uint8_t *queued, *dirty;  // bit_rows

  Shared(const Plan<A>& p, Arena& arena) {
    taps = arena.take<A>(p.radius + 1);
    scale_z = arena.take<A>(p.depth);
    scale_y = arena.take<A>(p.height);
    scale_x = arena.take<A>(p.wide);
    weak = arena.take<uint64_t>(p.bit_rows * p.words);
    strong = arena.take<uint64_t>(p.bit_rows * p.words);
    queue = arena.take<int64_t>(p.depth * p.height);
    queued = arena.take<uint8_t>(p.bit_rows);
    dirty = arena.take<uint8_t>(p.bit_rows);
  }
};

template <class A>
int64_t workspace_bytes(const Plan<A>& plan, int threads) {
  Arena arena{base_to_measure_from<uint8_t>()};
  Shared<A> shared(plan, arena);
  for (int slot = 0; slot < threads; ++slot) Scratch<A> scratch(plan, arena);
  return arena.used;
}

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
