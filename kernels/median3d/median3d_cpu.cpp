// Sorting networks on vectors of order-preserving integer keys; every lane is one output voxel. A tile
// is one vector wide in x and marches through z two planes at a time; within a step it marches through y:
//
//   keys ── sort in x ── merge with the planes before ── sorted 3x3, 4x4, 5x5 ── merge rows ── median
//                         (Row: kept from step to step)   (ring of rows)        of y and y + 1
//
// A cube of 4 reaches two voxels back and one ahead, as scipy's.
//
// Neighbouring outputs share every merge of what their cubes have in common. networks.h is written by
// generate.py; README.md counts the instructions.
#include <algorithm>

#include "median3d/median3d.h"
#include "pages.h"
#include "parallel.h"
#include "simd.h"
// after simd.h, whose vectors it uses
#include "median3d/networks.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int64_t kPlanes = 32;  // z planes of a tile, at most
constexpr int64_t kRows = kVectorBytes == 64 ? 96 : 192;  // y rows of a tile: its Rows stay in L2
constexpr int64_t kAlign = 64;
constexpr int64_t kAhead = 6;  // rows between the prefetch of a row and its use

// Bits of a float of any width <-> a signed integer of that width in the same order; -0 < +0, and
// every NaN becomes the largest key.
template <class K>
constexpr K kLargest = K(~(K(1) << (8 * sizeof(K) - 1)));
template <class K>
DAL_INLINE vec<K> flip_negative(vec<K> v) {
  return v ^ ((v >> int(8 * sizeof(K) - 1)) & kLargest<K>);
}
template <class K>
DAL_INLINE vec<K> to_keys(vec<K> bits, K infinity) {
  const vec<K> largest = broadcast<K>(kLargest<K>);
  return select<K>((bits & largest) > infinity, largest, flip_negative<K>(bits));
}

template <class K>
struct Volume {
  const K* x;  // (depth, height, width), bits of floats
  const uint8_t* mask;  // the same shape, or null
  K* out;
  int64_t depth, height, width;
  K infinity;  // its bits
};

// Sorted rows of the planes that the next step shares with this one, for one y.
template <class K, int kSize>
struct Row {
  vec<K> even[kSize / 2 + 1][kSize], odd[2][kSize];
  vec<K> pair[2][kSize == 3 ? 1 : 2 * kSize];  // two merged planes; the 3x3x3 median needs none
};

template <class K, int kSize>
struct Scratch {
  vec<K> squares[2][kSize + 1][kSize * kSize];  // [z][y]: a ring of sorted squares
  vec<K> pairs[2][2][kSize == 3 ? 1 : 2 * kSize * kSize];  // [z][y]: two of them, merged
  K keys[2][kSize - 1][lanes<K> + kSize / 2 * 2];  // [y][z]: a ring of rows of x
};

template <class K, int kSize>
class Tile {
  static constexpr int kRadius = kSize / 2, kLanes = lanes<K>, kColumns = kLanes + 2 * kRadius;
  static constexpr int kRing = kSize + 1;

 public:
  // Output box: [x0, x0 + kLanes) x [y0, y1) x [z0, z1), cut to the volume.
  Tile(const Volume<K>& volume, int64_t x0, int64_t y0, int64_t y1, int64_t z0, int64_t z1, char* workspace)
      : v_(volume),
        x0_(x0),
        y0_(y0),
        y1_(y1),
        z0_(z0),
        z1_(z1),
        scratch_(*reinterpret_cast<Scratch<K, kSize>*>(workspace)),
        rows_(reinterpret_cast<Row<K, kSize>*>(workspace + sizeof(Scratch<K, kSize>))),
        padded_rows_(padded(y1 - y0)),
        inner_(x0 >= kRadius && x0 + kLanes + kRadius <= volume.width) {
    for (int i = 0; i < kColumns; ++i) columns_[i] = reflect(x0 - kRadius + i, volume.width);
  }

  static int64_t padded(int64_t rows) { return (rows + 1) / 2 * 2 + kSize - 1; }
  static int64_t bytes(int64_t rows) {
    return int64_t(sizeof(Scratch<K, kSize>)) + padded(rows) * int64_t(sizeof(Row<K, kSize>));
  }

  void run() {
    start();
    for (int64_t z = z0_; z < z1_; z += 2) step(z);
  }

 private:
  const K* source(int64_t p, int64_t z) const {  // row p of the padded tile, in plane z
    const int64_t y = reflect(y0_ + p - kRadius, v_.height);
    return v_.x + (reflect(z, v_.depth) * v_.height + y) * v_.width;
  }

  // Keys of columns [x0 - kRadius, x0 + kLanes + kRadius).
  void read_keys(const K* row, K* keys) const {
    K edge[kColumns];
    const K* from = row + x0_ - kRadius;
    if (!inner_) {
      for (int i = 0; i < kColumns; ++i) edge[i] = row[columns_[i]];
      from = edge;
    }
    for (int i = 0;; i += kLanes) {  // the last vector may overlap the one before
      const int at = std::min(i, 2 * kRadius);
      store<K>(keys + at, to_keys<K>(load<K>(from + at), v_.infinity));
      if (at == 2 * kRadius) break;
    }
  }

  // Keys of `planes` planes from z on for row p, into their ring.
  void read_row(int64_t p, int64_t z, int planes) {
    for (int i = 0; i < planes; ++i) {
      read_keys(source(p, z + i), scratch_.keys[p & 1][i]);
      const K* later = source(std::min(p + kAhead, padded_rows_ - 1), z + i);
      __builtin_prefetch(later + columns_[0]);
      __builtin_prefetch(later + columns_[kColumns - 1]);
    }
  }

  void start() {
    for (int64_t p = 0; p < padded_rows_; ++p) {
      read_row(p, z0_ - kRadius, kSize - 1);
      auto& k = scratch_.keys[p & 1];
      Row<K, kSize>& r = rows_[p];
      if constexpr (kSize == 3)
        networks::start_3<K>(k[0], k[1], r.even[0], r.odd[0]);
      else if constexpr (kSize == 4)
        networks::start_4<K>(k[0], k[1], k[2], r.even[0], r.even[1], r.pair[0]);
      else
        networks::start_5<K>(k[0], k[1], k[2], k[3], r.even[0], r.even[1], r.odd[0], r.pair[0]);
    }
  }

  // Planes z and z + 1 of the output.
  void step(int64_t z) {
    const int64_t first_new = z - kRadius + kSize - 1;
    read_row(0, first_new, 2);
    for (int64_t p = 0; p < padded_rows_; ++p) {
      if (p + 1 < padded_rows_) {
        read_row(p + 1, first_new, 2);
        const char* const next = reinterpret_cast<const char*>(rows_ + p + 1);
        for (size_t i = 0; i < sizeof(*rows_); i += 64) __builtin_prefetch(next + i, 1);
      }
      merge_planes(p, (z - z0_) / 2);
      if constexpr (kSize != 3)
        if (p >= 2 && p % 2 == 0) merge_rows(p);
      if (p >= kSize && (p - kSize) % 2 == 0) finish(p - kSize, z);
      if (p >= kSize - 4 && y0_ + p + 4 - kSize < y1_)
        for (int i = 0; i < 2 && z + i < z1_; ++i) {
          const K* const later = v_.out + place(y0_ + p + 4 - kSize, z + i);
          __builtin_prefetch(later, 1);
          __builtin_prefetch(later + width() - 1, 1);  // the same line, or the next
        }
    }
  }

  void merge_planes(int64_t p, int64_t s) {
    constexpr int kEven = kRadius + 1;
    auto& k = scratch_.keys[p & 1];
    Row<K, kSize>& r = rows_[p];
    auto& squares = scratch_.squares;
    const int ring = int(p % kRing), now = int(s & 1), next = now ^ 1;
    vec<K>*oldest = r.even[s % kEven], *newest = r.even[(s + kRadius) % kEven];
    if constexpr (kSize == 3)
      networks::planes_3<K>(k[0], k[1], oldest, r.odd[now], newest, r.odd[next], squares[0][ring],
                            squares[1][ring]);
    else if constexpr (kSize == 4)
      networks::planes_4<K>(k[0], k[1], oldest, r.pair[now], newest, r.pair[next], squares[0][ring],
                            squares[1][ring]);
    else
      networks::planes_5<K>(k[0], k[1], oldest, r.pair[now], r.odd[now], newest, r.odd[next], r.pair[next],
                            squares[0][ring], squares[1][ring]);
  }

  void merge_rows(int64_t p) {
    for (int i = 0; i < 2; ++i) {
      const auto &first = scratch_.squares[i][(p - 1) % kRing], &second = scratch_.squares[i][p % kRing];
      if constexpr (kSize == 4)
        networks::pair_4<K>(first, second, scratch_.pairs[i][(p / 2) & 1]);
      else
        networks::pair_5<K>(first, second, scratch_.pairs[i][(p / 2) & 1]);
    }
  }

  // Rows p and p + 1 of the tile's output, in planes z and z + 1.
  void finish(int64_t p, int64_t z) {
    const int64_t y = y0_ + p;
    for (int i = 0; i < 2 && z + i < z1_; ++i) {
      const int64_t at = place(y, z + i);
      const int rows = y + 1 < y1_ ? 2 : 1;
      vec<K> medians[2] = {};
      if (wanted(at, rows)) select_median(p, scratch_.squares[i], scratch_.pairs[i], medians);
      for (int row = 0; row < rows; ++row) write(at + row * v_.width, flip_negative<K>(medians[row]));
    }
  }

  template <class Squares, class Pairs>
  static void select_median(int64_t p, const Squares& squares, const Pairs& pairs, vec<K>* medians) {
    const auto& first = squares[p % kRing];
    const auto& last = squares[(p + kSize) % kRing];
    if constexpr (kSize == 3)
      networks::median_3<K>(first, squares[(p + 1) % kRing], squares[(p + 2) % kRing], last, medians);
    else if constexpr (kSize == 4)
      networks::median_4<K>(first, pairs[(p / 2 + 1) & 1], squares[(p + 3) % kRing], last, medians);
    else
      networks::median_5<K>(first, pairs[(p / 2 + 1) & 1], pairs[(p / 2) & 1], last, medians);
  }

  // Of the tile's first voxel in row y of plane z, in the volume.
  int64_t place(int64_t y, int64_t z) const { return (z * v_.height + y) * v_.width + x0_; }
  int width() const { return int(std::min<int64_t>(kLanes, v_.width - x0_)); }

  // Is any voxel of these rows inside the mask?
  bool wanted(int64_t at, int rows) const {
    if (!v_.mask) return true;
    uint8_t any = 0;
    for (int row = 0; row < rows; ++row)
      for (int i = 0; i < width(); ++i) any |= v_.mask[at + row * v_.width + i];
    return any;
  }

  void write(int64_t at, vec<K> bits) const {
    const int n = width();
    if (v_.mask)
      for (int i = 0; i < n; ++i) bits[i] = v_.mask[at + i] ? bits[i] : K(0);
    if (n == kLanes)
      store<K>(v_.out + at, bits);
    else
      store_n<K>(v_.out + at, bits, n);
  }

  const Volume<K>& v_;
  const int64_t x0_, y0_, y1_, z0_, z1_;
  Scratch<K, kSize>& scratch_;
  Row<K, kSize>* const rows_;
  const int64_t padded_rows_;
  const bool inner_;  // no column lies outside
  int64_t columns_[kColumns];
};

// An axis cut into equal parts of an even number of voxels, `most` at most.
struct Cut {
  int64_t parts, length;
  Cut(int64_t n, int64_t most) : parts((n + most - 1) / most), length((n + parts - 1) / parts) {
    length += length & 1;
    parts = (n + length - 1) / length;
  }
};

template <class F>
void with_key(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(int32_t(0x7f800000));
    case DType::f64:
      return f(int64_t(0x7ff0000000000000));
    case DType::f16:
      return f(int16_t(0x7c00));
    case DType::bf16:
      return f(int16_t(0x7f80));
  }
}

template <class K, int kSize>
int64_t bytes_per_thread(const Median3dShape& s) {
  const int64_t bytes = Tile<K, kSize>::bytes(Cut(s.height, kRows).length);
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

template <class K, int kSize>
void filter(const K* x, const uint8_t* mask, K* out, char* workspace, const Median3dShape& s, K infinity,
            int threads) {
  const Cut z(s.depth, kPlanes), y(s.height, kRows);
  const int64_t blocks = (s.width + lanes<K> - 1) / lanes<K>, voxels = s.depth * s.height * s.width;
  const int64_t stride = bytes_per_thread<K, kSize>(s), volumes = s.batch * s.channels;
  prefer_huge_pages(out, sizeof(K) * size_t(volumes * voxels), threads);
  parallel_for(volumes * z.parts * y.parts * blocks, threads, [&](int64_t task, int slot) {
    const int64_t x0 = task % blocks * lanes<K>, box = task / blocks;
    const int64_t y0 = box % y.parts * y.length, z0 = box / y.parts % z.parts * z.length;
    const int64_t volume = box / (y.parts * z.parts);
    const Volume<K> v{x + volume * voxels,
                      mask ? mask + volume / s.channels * voxels : nullptr,
                      out + volume * voxels,
                      s.depth,
                      s.height,
                      s.width,
                      infinity};
    Tile<K, kSize>(v, x0, y0, std::min(y0 + y.length, s.height), z0, std::min(z0 + z.length, s.depth),
                   workspace + slot * stride)
        .run();
  });
}

}  // namespace

int64_t median3d_workspace(Median3dShape shape, DType dtype, int threads) {
  int64_t bytes = 0;
  with_key(dtype, [&](auto infinity) {
    using K = decltype(infinity);
    bytes = shape.size == 3   ? bytes_per_thread<K, 3>(shape)
            : shape.size == 4 ? bytes_per_thread<K, 4>(shape)
                              : bytes_per_thread<K, 5>(shape);
  });
  return threads * bytes + kAlign;
}

void median3d(const void* x, const uint8_t* mask, void* out, void* workspace, Median3dShape shape,
              DType dtype, int threads) {
  const auto start = (reinterpret_cast<uintptr_t>(workspace) + kAlign - 1) / kAlign * kAlign;
  with_key(dtype, [&](auto infinity) {
    using K = decltype(infinity);
    const auto run = shape.size == 3 ? filter<K, 3> : shape.size == 4 ? filter<K, 4> : filter<K, 5>;
    run(static_cast<const K*>(x), mask, static_cast<K*>(out), reinterpret_cast<char*>(start), shape,
        infinity, threads);
  });
}

}  // namespace DAL_ISA
}  // namespace dal
