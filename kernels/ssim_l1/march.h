// Filters four fields with a separable symmetric window while marching along z; nothing between the
// input rows and the finished rows leaves the cache.
//
//   rows of plane z ──F along y──▶ four rows a field ──F along x──▶ ring of 2r + 4 planes ──F along z──▶
//   rows
//                    (registers)        (L1)                               (L2)                    (L1)
//
// A tile is a slab of some rows, all of x, a range of z. Include only from ssim_l1_cpu.cpp.
#pragma once
#include <algorithm>

#include "simd.h"
#include "ssim_l1/ssim_l1.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int kFields = 4;  // F[u], F[u^2], F[v], F[v^2], in this order
constexpr int kRows = 4;  // rows filtered together along y
constexpr int kPair = 2;  // rows filtered together along x
constexpr int kPlanes = 4;  // planes filtered together along z
template <class T>
constexpr int64_t kLine = 64 / int64_t(sizeof(T));  // elements of a cache line
constexpr int kMaxRadius = 16;  // also the margin left and right of a row
constexpr int kSpareRows = 4;  // rows of scratch for RowWork::combine
constexpr int64_t kRingBytes = 440 << 10;
constexpr int64_t kEnoughTasks = 8;

template <int R>
struct FixedRadius {
  static constexpr int kFixed = R;
  constexpr operator int() const { return R; }
};
struct AnyRadius {
  static constexpr int kFixed = kMaxRadius + 1;  // not known
  int radius;
  operator int() const { return radius; }
};

// How the volumes are cut. It depends on shape, radius and type only, never on the thread count.
struct Tiling {
  int64_t padded, slab, slabs, chunk, chunks;
};
struct Tile {
  int64_t volume, z0, z1, y0, y1;
};

template <class T>
Tiling tiling_of(const SsimProblem& p) {
  Tiling t;
  t.padded = ssim_padded(p.width);
  const int64_t ring_row = (2 * p.radius + kPlanes) * kFields * t.padded * int64_t(sizeof(T));
  t.slab = std::max<int64_t>(kRows, std::min<int64_t>(kRingBytes / ring_row, 32) / kRows * kRows);
  t.slabs = ceil_div(p.height, t.slab);
  const int64_t wanted = ceil_div(kEnoughTasks, std::max<int64_t>(1, p.volumes * t.slabs));
  const int64_t most = std::max<int64_t>(1, p.depth / (4 * std::max(1, p.radius)));
  t.chunk = ceil_div(ceil_div(p.depth, std::min(wanted, most)), kPlanes) * kPlanes;
  t.chunks = ceil_div(p.depth, t.chunk);
  return t;
}

inline Tile tile_of(const SsimProblem& p, const Tiling& t, int64_t task) {
  const int64_t slab = task % t.slabs, chunk = task / t.slabs % t.chunks;
  return {task / t.slabs / t.chunks, chunk * t.chunk, std::min(p.depth, (chunk + 1) * t.chunk),
          slab * t.slab, std::min(p.height, (slab + 1) * t.slab)};
}

// One thread's scratch, in elements of T.
template <class T>
struct Scratch {
  T *ring, *stage, *rows, *finished, *spare;

  static int64_t row_stride(const Tiling& t) { return t.padded + 2 * kMaxRadius; }
  // One cache line more than the plane needs: the 2r + 4 planes that the z pass reads side by side would
  // otherwise fall on the same few cache sets.
  static int64_t plane_stride(const Tiling& t) { return t.slab * kFields * t.padded + kLine<T>; }

  // Lays the parts out from `base`; returns the elements needed.
  int64_t lay_out(T* base, const Tiling& t, int radius) {
    const int64_t sizes[] = {(2 * radius + kPlanes) * plane_stride(t), (t.slab + 2 * radius) * 2 * t.padded,
                             kRows * row_stride(t), kPlanes * kFields * t.padded, kSpareRows * t.padded};
    T** const parts[] = {&ring, &stage, &rows, &finished, &spare};
    int64_t used = 0;
    for (int i = 0; i < 5; ++i) {
      *parts[i] = base + used;
      used += sizes[i];
    }
    return used;
  }
};

// What an op does to rows: per row and per call, so virtual calls cost nothing.
template <class T>
struct RowWork {
  // u and v of row (volume, z, y); elements from width to padded width become 0.
  virtual void load(int64_t volume, int64_t z, int64_t y, T* u, T* v) const = 0;
  // Takes the filtered rows f[0..3] of (volume, z, y); adds to sums[0..1] of this task.
  virtual void combine(int64_t volume, int64_t z, int64_t y, const T* const* f, T* spare,
                       double* sums) const = 0;
};

// Across rows: out[r] = w[0] in[r + radius] + sum_k w[k] (in[r + radius - k] + in[r + radius + k]). The
// two of a pair are added first: processors that add beside multiplying then do half the multiplications.
// A cache line at a time, as the rows are many; so `width` is rounded up to whole lines.
template <class T, int kOut, class Radius, class Read>
DAL_INLINE void filter_across(const T* const* in, int64_t width, Radius window, const vec<T>* w, Read read,
                              T* out, int64_t out_stride) {
  const int radius = window;
  for (int64_t line = 0; line < width; line += kLine<T>) {
#pragma GCC unroll 4
    for (int64_t x = line; x < line + kLine<T>; x += lanes<T>) {
      vec<T> sum[kOut];
#pragma GCC unroll 8
      for (int r = 0; r < kOut; ++r) sum[r] = w[0] * read(in[r + radius] + x);
#pragma GCC unroll 8
      for (int k = 1; k <= radius; ++k)
#pragma GCC unroll 8
        for (int r = 0; r < kOut; ++r)
          sum[r] = multiply_add(w[k], read(in[r + radius - k] + x) + read(in[r + radius + k] + x), sum[r]);
#pragma GCC unroll 8
      for (int r = 0; r < kOut; ++r) store(out + r * out_stride + x, sum[r]);
    }
  }
}

// Vectors of a row, one after the other.
template <class T>
struct Neighbours {
  vec<T> before, here, after;
};
// sum += w[K] (what stands K to the left + what stands K to the right) in every row, and on to kLast.
template <class T, int K, int kLast>
DAL_INLINE void add_pairs(vec<T>* sum, const Neighbours<T>* v, const vec<T>* w) {
  for (int r = 0; r < kPair; ++r)
    sum[r] = multiply_add(
        w[K], shifted<lanes<T> - K>(v[r].before, v[r].here) + shifted<K>(v[r].here, v[r].after), sum[r]);
  if constexpr (K < kLast) add_pairs<T, K + 1, kLast>(sum, v, w);
}

// Mirrors `radius` elements at both ends of a row, which has kMaxRadius writable elements beyond each.
template <class T>
DAL_INLINE void mirror_ends(T* row, int64_t width, int radius) {
  if (width >= lanes<T> && radius <= lanes<T>) {
    store(row - lanes<T>, reversed<T>(load(row)));
    store(row + width, reversed<T>(load(row + width - lanes<T>)));
    return;
  }
  for (int k = 0; k < radius; ++k) {
    row[-1 - k] = row[reflect<int64_t>(-1 - k, width)];
    row[width + k] = row[reflect<int64_t>(width + k, width)];
  }
}

// Along x, kPair rows.
template <class T, class Radius>
DAL_INLINE void filter_x(T* row, int64_t row_stride, int64_t width, Radius window, const vec<T>* w, T* out,
                         int64_t out_stride) {
  const int radius = window;
  for (int r = 0; r < kPair; ++r) mirror_ends(row + r * row_stride, width, radius);
  if constexpr (kShifts<T> && Radius::kFixed <= lanes<T>) {
    Neighbours<T> v[kPair];
    for (int r = 0; r < kPair; ++r) {
      v[r].before = load(row + r * row_stride - lanes<T>);
      v[r].here = load(row + r * row_stride);
    }
    for (int64_t x = 0; x < width; x += lanes<T>) {
      vec<T> sum[kPair];
      for (int r = 0; r < kPair; ++r) {
        v[r].after = load(row + r * row_stride + x + lanes<T>);
        sum[r] = w[0] * v[r].here;
      }
      add_pairs<T, 1, Radius::kFixed>(sum, v, w);
      for (int r = 0; r < kPair; ++r) {
        store(out + r * out_stride + x, sum[r]);
        v[r].before = v[r].here;
        v[r].here = v[r].after;
      }
    }
    return;
  }
  for (int r = 0; r < kPair; ++r, row += row_stride, out += out_stride)
    for (int64_t x = 0; x < width; x += lanes<T>) {
      vec<T> sum = w[0] * load(row + x);
      for (int k = 1; k <= radius; ++k)
        sum = multiply_add(w[k], load(row + x - k) + load(row + x + k), sum);
      store(out + x, sum);
    }
}

// Source of the forward pass: u and v from the inputs, squared in registers.
template <class T>
struct Moments {
  const RowWork<T>& work;
  const SsimProblem& p;
  T* stage;  // u, v of the slab's rows and r rows on both sides
  int64_t padded;

  int64_t staged_rows(const Tile& tile) const { return tile.y1 - tile.y0 + 2 * p.radius; }
  void open(const Tile& tile, int64_t z) {
    const int64_t rows = staged_rows(tile);
    for (int64_t i = 0; i < rows; ++i) {
      T* const u = stage + i * padded;
      work.load(tile.volume, z, reflect(tile.y0 + i - p.radius, p.height), u, u + rows * padded);
    }
  }
  const T* row(const Tile& tile, int64_t, int64_t y, int f) const {
    return stage + (f / 2 * staged_rows(tile) + y - tile.y0 + p.radius) * padded;
  }
  template <class Radius>
  void filter(const T* const* in, int f, Radius radius, const vec<T>* w, T* out, int64_t row_stride) const {
    const auto value = [](const T* at) { return load(at); };
    const auto square = [](const T* at) { return load(at) * load(at); };
    if (f % 2)
      filter_across<T, kRows>(in, p.width, radius, w, square, out, row_stride);
    else
      filter_across<T, kRows>(in, p.width, radius, w, value, out, row_stride);
  }
};

// Source of the backward pass: the four derivative fields as they lie in memory.
template <class T>
struct Fields {
  const T* fields;
  const SsimProblem& p;
  int64_t padded;

  void open(const Tile&, int64_t) {}
  const T* row(const Tile& tile, int64_t z, int64_t y, int f) const {
    return fields +
           (((tile.volume * p.depth + z) * p.height + reflect(y, p.height)) * kFields + f) * padded;
  }
  template <class Radius>
  void filter(const T* const* in, int, Radius radius, const vec<T>* w, T* out, int64_t row_stride) const {
    const auto value = [=](const T* at) { return load(at); };
    filter_across<T, kRows>(in, p.width, radius, w, value, out, row_stride);
    const int64_t plane = p.height * kFields * padded;
    for (int r = radius; r < radius + kRows; ++r)  // too many streams for the hardware's own
      for (int64_t i = 0; i < padded; i += kLine<T>) __builtin_prefetch(in[r] + plane + i, 0, 2);
  }
};

// Plane z of the tile, filtered along y and x, into `plane`: (slab, fields, padded width).
template <class T, class Radius, class Source>
void fill_plane(Source& source, const Tile& tile, int64_t z, const SsimProblem& p, const Tiling& t,
                Radius radius, const vec<T>* w, const Scratch<T>& s, T* plane) {
  const int64_t row_stride = Scratch<T>::row_stride(t);
  T* const first_row = s.rows + kMaxRadius;
  source.open(tile, z);
  for (int f = 0; f < kFields; ++f)
    for (int64_t y = tile.y0; y < tile.y1; y += kRows) {
      const int rows = int(std::min<int64_t>(kRows, tile.y1 - y));
      T* const to = plane + ((y - tile.y0) * kFields + f) * t.padded;
      const int64_t to_stride = kFields * t.padded;
      const T* in[2 * kMaxRadius + kRows];
      for (int k = 0; k < 2 * radius + kRows; ++k)
        in[k] = source.row(tile, z, y - radius + std::min(k, 2 * radius + rows - 1), f);
      source.filter(in, f, radius, w, first_row, row_stride);
      for (int r = 0; r < rows; r += kPair)
        filter_x(first_row + r * row_stride, row_stride, p.width, radius, w, to + r * to_stride, to_stride);
    }
}

template <class T, class Radius, class Source>
void march(Source source, const RowWork<T>& work, const Tile& tile, const SsimProblem& p, const Tiling& t,
           Radius radius, const Scratch<T>& s, double* sums) {
  vec<T> w[kMaxRadius + 1];
  for (int k = 0; k <= radius; ++k) w[k] = broadcast(T(p.weights[k]));
  const int64_t planes = 2 * radius + kPlanes, plane_stride = Scratch<T>::plane_stride(t);
  int64_t filled = std::max<int64_t>(0, tile.z0 - radius);
  for (int64_t z = tile.z0; z < tile.z1; z += kPlanes) {
    const int ready = int(std::min<int64_t>(kPlanes, tile.z1 - z));
    for (; filled <= std::min(p.depth - 1, z + ready - 1 + radius); ++filled)
      fill_plane(source, tile, filled, p, t, radius, w, s, s.ring + filled % planes * plane_stride);
    const T* in[2 * kMaxRadius + kPlanes];
    for (int k = 0; k < planes; ++k) {
      const int64_t from = z - radius + std::min<int64_t>(k, 2 * radius + ready - 1);
      in[k] = s.ring + reflect(from, p.depth) % planes * plane_stride;
    }
    for (int64_t y = tile.y0; y < tile.y1; ++y) {
      for (int f = 0; f < kFields; ++f)
        filter_across<T, kPlanes>(
            in, p.width, radius, w,
            [=](const T* at) { return load(at + ((y - tile.y0) * kFields + f) * t.padded); },
            s.finished + f * t.padded, kFields * t.padded);
      for (int r = 0; r < ready; ++r) {
        const T* f = s.finished + r * kFields * t.padded;
        const T* const rows[kFields] = {f, f + t.padded, f + 2 * t.padded, f + 3 * t.padded};
        work.combine(tile.volume, z + r, y, rows, s.spare, sums);
      }
    }
  }
}

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
