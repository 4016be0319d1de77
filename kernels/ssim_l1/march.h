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
constexpr int kPlanes = 4;  // planes filtered together along z
constexpr int kMaxRadius = 16;  // also the margin left and right of a row
constexpr int kSpareRows = 4;  // rows of scratch for RowWork::combine
constexpr int64_t kRingBytes = 384 << 10;
constexpr int64_t kEnoughTasks = 8;

template <int R>
struct FixedRadius {
  constexpr operator int() const { return R; }
};
struct AnyRadius {
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

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

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
  // One cache line more than the plane needs: the 2r + 4 planes that filter_z reads side by side would
  // otherwise fall on the same few cache sets.
  static int64_t plane_stride(const Tiling& t) {
    return t.slab * kFields * t.padded + 64 / int64_t(sizeof(T));
  }

  // Lays the parts out from `base`; returns the elements needed.
  int64_t lay_out(T* base, const Tiling& t, int radius) {
    const int64_t sizes[] = {(2 * radius + kPlanes) * plane_stride(t), (t.slab + 2 * radius) * 2 * t.padded,
                             kFields * kRows * row_stride(t), kPlanes * kFields * t.padded,
                             kSpareRows * t.padded};
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

// Along y: out[pair][r] = sum_d w[|d|] in[row r + d], for two fields at once. pair(p, v) reads both at p.
template <class T, class Radius, class Pair>
DAL_INLINE void filter_y(const T* const* in, int64_t width, Radius window, const vec<T>* w, Pair pair,
                         T* out, int64_t row_stride) {
  const int radius = window;
  for (int64_t x = 0; x < width; x += lanes<T>) {
    vec<T> sum[2][kRows] = {};
#pragma GCC unroll 16
    for (int k = 0; k < 2 * radius + kRows; ++k) {
      vec<T> v[2];
      pair(in[k] + x, v);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const int d = std::abs(k - r - radius);
        if (d > radius) continue;
        sum[0][r] += w[d] * v[0];
        sum[1][r] += w[d] * v[1];
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < 2 * kRows; ++i) store(out + i * row_stride + x, sum[i / kRows][i % kRows]);
  }
}

// Along x. `row` has kMaxRadius writable elements on both sides.
template <class T, class Radius>
DAL_INLINE void filter_x(T* row, int64_t width, Radius window, const vec<T>* w, T* out) {
  const int radius = window;
  for (int k = 0; k < radius; ++k) {
    row[-1 - k] = row[reflect(-1 - k, width)];
    row[width + k] = row[reflect(width + k, width)];
  }
  for (int64_t x = 0; x < width; x += lanes<T>) {
    vec<T> sum = w[0] * load(row + x);
#pragma GCC unroll 8
    for (int k = 1; k <= radius; ++k) sum += w[k] * (load(row + x - k) + load(row + x + k));
    store(out + x, sum);
  }
}

// Along z: kPlanes rows from the planes in[0..2r + kPlanes) of the ring.
template <class T, class Radius>
DAL_INLINE void filter_z(const T* const* in, int64_t offset, int64_t width, Radius window, const vec<T>* w,
                         T* out, int64_t plane_stride) {
  const int radius = window;
  for (int64_t x = 0; x < width; x += lanes<T>) {
    vec<T> sum[kPlanes] = {};
#pragma GCC unroll 16
    for (int k = 0; k < 2 * radius + kPlanes; ++k) {
      const vec<T> v = load(in[k] + offset + x);
#pragma GCC unroll 4
      for (int r = 0; r < kPlanes; ++r) {
        const int d = std::abs(k - r - radius);
        if (d <= radius) sum[r] += w[d] * v;
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kPlanes; ++r) store(out + r * plane_stride + x, sum[r]);
  }
}

// Source of the forward pass: u and v from the inputs, squared in registers.
template <class T>
struct Moments {
  const RowWork<T>& work;
  const SsimProblem& p;
  T* stage;  // u, v of the slab's rows and r rows on both sides
  int64_t padded;

  void open(const Tile& tile, int64_t z) {
    const int64_t rows = tile.y1 - tile.y0 + 2 * p.radius;
    for (int64_t i = 0; i < rows; ++i) {
      T* u = stage + i * 2 * padded;
      work.load(tile.volume, z, reflect(tile.y0 + i - p.radius, p.height), u, u + padded);
    }
  }
  const T* row(const Tile& tile, int64_t, int64_t y) const {
    return stage + (y - tile.y0 + p.radius) * 2 * padded;
  }
  template <class Radius>
  void filter(const T* const* in, Radius radius, const vec<T>* w, T* out, int64_t row_stride) const {
    const auto value_and_square = [](const T* at, vec<T>* v) {
      v[0] = load(at);
      v[1] = v[0] * v[0];
    };
    const T* v_rows[2 * kMaxRadius + kRows];
    for (int k = 0; k < 2 * radius + kRows; ++k) v_rows[k] = in[k] + padded;
    filter_y(in, p.width, radius, w, value_and_square, out, row_stride);
    filter_y(v_rows, p.width, radius, w, value_and_square, out + 2 * kRows * row_stride, row_stride);
  }
};

// Source of the backward pass: the four derivative fields as they lie in memory.
template <class T>
struct Fields {
  const T* fields;
  const SsimProblem& p;
  int64_t padded;

  void open(const Tile&, int64_t) {}
  const T* row(const Tile& tile, int64_t z, int64_t y) const {
    return fields + ((tile.volume * p.depth + z) * p.height + reflect(y, p.height)) * kFields * padded;
  }
  template <class Radius>
  void filter(const T* const* in, Radius radius, const vec<T>* w, T* out, int64_t row_stride) const {
    const int64_t plane = p.height * kFields * padded;
    for (int f = 0; f < kFields; f += 2) {
      const int64_t first = f * padded, second = first + padded;
      const auto two = [=](const T* at, vec<T>* v) {
        __builtin_prefetch(at + first + plane, 0, 2);  // too many streams for the hardware's own
        __builtin_prefetch(at + second + plane, 0, 2);
        v[0] = load(at + first);
        v[1] = load(at + second);
      };
      filter_y(in, p.width, radius, w, two, out + f * kRows * row_stride, row_stride);
    }
  }
};

// Plane z of the tile, filtered along y and x, into `plane`: (slab, fields, padded width).
template <class T, class Radius, class Source>
void fill_plane(Source& source, const Tile& tile, int64_t z, const SsimProblem& p, const Tiling& t,
                Radius radius, const vec<T>* w, const Scratch<T>& s, T* plane) {
  const int64_t row_stride = Scratch<T>::row_stride(t);
  T* const first_row = s.rows + kMaxRadius;
  source.open(tile, z);
  for (int64_t y = tile.y0; y < tile.y1; y += kRows) {
    const int rows = int(std::min<int64_t>(kRows, tile.y1 - y));
    const T* in[2 * kMaxRadius + kRows];
    for (int k = 0; k < 2 * radius + kRows; ++k)
      in[k] = source.row(tile, z, y - radius + std::min(k, 2 * radius + rows - 1));
    source.filter(in, radius, w, first_row, row_stride);
    for (int f = 0; f < kFields; ++f)
      for (int r = 0; r < rows; ++r)
        filter_x(first_row + (f * kRows + r) * row_stride, p.width, radius, w,
                 plane + ((y - tile.y0 + r) * kFields + f) * t.padded);
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
        filter_z(in, ((y - tile.y0) * kFields + f) * t.padded, p.width, radius, w,
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
