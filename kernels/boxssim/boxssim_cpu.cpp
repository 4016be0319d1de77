// A tile is a slab of some rows and a range of planes, of which those that hold the mask are marched
// through, one window after the other:
//
//   rows of plane z ──sum along x──▶ rows ──sum along y──▶ ring of 2 r + 1 planes ──sum along z──▶ 1 - SSIM
//
// Sums are additions in a fixed order, without a product that some instruction sets would fuse: the bits
// are the same on each of them, and for any tiles.
#include <algorithm>

#include "boxssim/boxssim.h"
#include "parallel.h"
#include "simd.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int kFields = 4;  // u, u^2, v, v^2 with u = x - y and v = x + y - 1
constexpr int kMostRadius = 5, kBorder = 16;  // elements beside a row
constexpr int64_t kSlab = 24;  // rows
constexpr float kC1 = 1e-4f, kC2 = 9e-4f;

int64_t row_of(Shape s) { return ceil_div(s.width, 16) * 16; }

struct Scratch {
  float *rows, *across, *ring, *sums;
  int64_t row, bytes;

  Scratch(void* workspace, Shape s) {
    Parts parts(workspace);
    row = row_of(s);
    rows = parts.take<float>(kFields * (row + 2 * kBorder));
    across = parts.take<float>((kSlab + 2 * kMostRadius) * kFields * row);
    ring = parts.take<float>((2 * kMostRadius + 1) * kSlab * kFields * row);
    sums = parts.take<float>(kFields * row);
    bytes = parts.used();
  }
};

struct Tile {
  int64_t z0, z1, y0, y1;
};

// One row of the fields, with its ends repeated.
DAL_INLINE void load_fields(const float* __restrict x, const float* __restrict y, int64_t n, int radius,
                            float* __restrict u, float* __restrict uu, float* __restrict v,
                            float* __restrict vv) {
  for (int64_t i = 0; i < n; ++i) {
    const float a = x[i] - 0.5f, b = y[i] - 0.5f, difference = a - b, sum = a + b;
    u[i] = difference;
    uu[i] = difference * difference;
    v[i] = sum;
    vv[i] = sum * sum;
  }
  for (float* const field : {u, uu, v, vv})
    for (int k = 0; k < radius; ++k) {
      field[-1 - k] = field[reflect<int64_t>(-1 - k, n)];
      field[n + k] = field[reflect<int64_t>(n + k, n)];
    }
}

template <int R>
DAL_INLINE void sum_along(const float* __restrict row, int64_t n, float* __restrict out) {
  for (int64_t i = 0; i < n; ++i) {
    float sum = row[i];
#pragma GCC unroll 8
    for (int k = 1; k <= R; ++k) sum += row[i - k] + row[i + k];
    out[i] = sum;
  }
}

// Of 2 R + 1 rows.
template <int R>
DAL_INLINE void sum_across(const float* const* rows, int64_t n, float* __restrict out) {
  for (int64_t i = 0; i < n; ++i) {
    float sum = rows[R][i];
#pragma GCC unroll 8
    for (int k = 1; k <= R; ++k) sum += rows[R - k][i] + rows[R + k][i];
    out[i] = sum;
  }
}

// Adds 1 - SSIM of a row, written without the subtraction, where the mask is.
DAL_INLINE void add_dissimilarity(const float* __restrict f, int64_t row, int64_t n, float share,
                                  const uint8_t* __restrict mask, float* __restrict out) {
  const float* __restrict u = f, * __restrict uu = f + row, * __restrict v = f + 2 * row, * __restrict vv = f + 3 * row;
  for (int64_t i = 0; i < n; ++i) {
    const float mean_u = u[i] * share, mean_v = v[i] * share, both = mean_v + 1.f;
    const float spread_u = uu[i] * share - mean_u * mean_u, spread_v = vv[i] * share - mean_v * mean_v;
    const float q1 = 0.5f * mean_u * mean_u, p1 = 0.5f * both * both + kC1;
    const float q2 = 0.5f * (spread_u > 0.f ? spread_u : 0.f);
    const float p2 = 0.5f * (spread_v > 0.f ? spread_v : 0.f) + kC2;
    const float rest = 2.f * (p1 * q2 + q1 * p2) / ((p1 + q1) * (p2 + q2));
    out[i] += mask[i] ? rest : 0.f;
  }
}

bool any_of(const uint8_t* mask, int64_t n) {
  uint8_t any = 0;
  for (int64_t i = 0; i < n; ++i) any |= mask[i];
  return any != 0;
}

// Plane z of a tile, summed along x and y, into its place in the ring.
template <int R>
void fill_plane(const float* x, const float* y, Shape s, const Tile& tile, int64_t z, const Scratch& c) {
  const int64_t staged = tile.y1 - tile.y0 + 2 * R, padded = c.row + 2 * kBorder;
  float* const field = c.rows + kBorder;
  for (int64_t i = 0; i < staged; ++i) {
    const int64_t at = (z * s.height + reflect(tile.y0 + i - R, s.height)) * s.width;
    load_fields(x + at, y + at, s.width, R, field, field + padded, field + 2 * padded, field + 3 * padded);
    for (int f = 0; f < kFields; ++f)
      sum_along<R>(field + f * padded, s.width, c.across + (i * kFields + f) * c.row);
  }
  float* const plane = c.ring + z % (2 * R + 1) * kSlab * kFields * c.row;
  for (int64_t j = 0; j < tile.y1 - tile.y0; ++j)
    for (int f = 0; f < kFields; ++f) {
      const float* rows[2 * R + 1];
      for (int k = 0; k <= 2 * R; ++k) rows[k] = c.across + ((j + k) * kFields + f) * c.row;
      sum_across<R>(rows, s.width, plane + (j * kFields + f) * c.row);
    }
}

template <int R>
void march(const float* x, const float* y, const uint8_t* mask, Shape s, const Tile& tile, const Scratch& c,
           float* out) {
  constexpr float kShare = 1.f / float((2 * R + 1) * (2 * R + 1) * (2 * R + 1));
  const int64_t plane = kSlab * kFields * c.row;
  int64_t filled = std::max<int64_t>(0, tile.z0 - R);
  for (int64_t z = tile.z0; z < tile.z1; ++z) {
    for (; filled <= std::min(s.depth - 1, z + R); ++filled) fill_plane<R>(x, y, s, tile, filled, c);
    for (int64_t h = tile.y0; h < tile.y1; ++h) {
      const int64_t at = (z * s.height + h) * s.width, row = (h - tile.y0) * kFields * c.row;
      if (!any_of(mask + at, s.width)) continue;
      for (int f = 0; f < kFields; ++f) {
        const float* planes[2 * R + 1];
        for (int k = 0; k <= 2 * R; ++k)
          planes[k] = c.ring + reflect(z + k - R, s.depth) % (2 * R + 1) * plane + row + f * c.row;
        sum_across<R>(planes, s.width, c.sums + f * c.row);
      }
      add_dissimilarity(c.sums, c.row, s.width, kShare, mask + at, out + at);
    }
  }
}

// Without the planes at either end that hold no mask.
Tile shrunk(Tile tile, const uint8_t* mask, Shape s) {
  const auto empty = [&](int64_t z) {
    return !any_of(mask + (z * s.height + tile.y0) * s.width, (tile.y1 - tile.y0) * s.width);
  };
  while (tile.z1 > tile.z0 && empty(tile.z1 - 1)) --tile.z1;
  while (tile.z0 < tile.z1 && empty(tile.z0)) ++tile.z0;
  return tile;
}

}  // namespace

int64_t box_dissimilarity_workspace(Shape shape, BoxWindows, int threads) {
  return threads * Scratch(nullptr, shape).bytes;
}

void box_dissimilarity(const float* x, const float* y, const uint8_t* mask, BoxWindows windows, float* out,
                       Shape s, void* workspace, int threads) {
  const int64_t slabs = ceil_div(s.height, kSlab), wanted = threads > 1 ? ceil_div(4 * threads, slabs) : 1;
  const int64_t chunk = std::max<int64_t>(ceil_div(s.depth, wanted), 4 * kMostRadius);
  const int64_t chunks = ceil_div(s.depth, chunk), bytes = Scratch(nullptr, s).bytes;
  parallel_for(slabs * chunks, threads, [&](int64_t task, int slot) {
    const int64_t slab = task % slabs * kSlab, first = task / slabs * chunk;
    const Tile whole{first, std::min(s.depth, first + chunk), slab, std::min(s.height, slab + kSlab)};
    const Scratch scratch(static_cast<char*>(workspace) + slot * bytes, s);
    for (int64_t z = whole.z0; z < whole.z1; ++z)
      std::fill_n(out + (z * s.height + slab) * s.width, (whole.y1 - slab) * s.width, 0.f);
    const Tile tile = shrunk(whole, mask, s);
    for (int i = 0; i < windows.count; ++i) {
      const auto of_radius = windows.sides[i] == 3   ? march<1>
                             : windows.sides[i] == 5 ? march<2>
                             : windows.sides[i] == 7 ? march<3>
                                                     : march<5>;
      of_radius(x, y, mask, s, tile, scratch, out);
    }
  });
}

}  // namespace DAL_ISA
}  // namespace dal
