// Every voxel is linked to one that is above it, as far as possible to one that is linked already, whose
// branch it takes over.
#pragma once
#include <algorithm>
#include <cstdint>

#include "bits.h"
#include "tfce3d/joining.h"
#include "tfce3d/links.h"
#include "tfce3d/numbering.h"
#include "tfce3d/sorting.h"
#include "tfce3d/tfce3d.h"

namespace dal {
namespace DAL_ISA {

// Planes with a column of background behind every row, so that a neighbour is a fixed number of cells away,
// and whole blocks of bits.
struct Plane {
  int64_t height, width, row;
  int64_t cells;  // of whole blocks
  int64_t margin;  // background before and behind them
  int64_t words;  // of bits, one for each cell; with whole vectors before and behind them

  explicit Plane(const Tfce3dProblem& p) : height(p.height), width(p.width), row(p.width + 1) {
    cells = ceil_div(height * row, kBlock) * kBlock;
    margin = ceil_div(row + 1, kBlock) * kBlock;
    words = (cells + 2 * margin) / kWord + kBlockWords;
  }
  int64_t size() const { return cells + 2 * margin; }
};

constexpr int kLater = kCells - 1 - kCentre;  // cells that come after their voxel: 14 to 26

// What one thread needs while it links: two planes of values, three of branches, and bits that tell for two
// planes which of the later cells are above the voxel, and for one which voxels are positive.
template <class T>
struct Window {
  static constexpr int kValues = 2, kBranches = 3, kBits = 2 * kLater + 1;

  static int64_t bytes(const Plane& plane) {
    return plane.size() * int64_t(kValues * sizeof(T) + kBranches * sizeof(uint32_t)) +
           plane.words * int64_t(kBits * sizeof(uint64_t));
  }
  Window(const Plane& plane, uint8_t* at) : plane(plane) {
    for (T*& of : values) at = take(of, plane.size(), at);
    for (uint32_t*& of : branches) at = take(of, plane.size(), at);
    for (auto& of_plane : later)
      for (uint64_t*& of : of_plane) at = take(of, plane.words, at);
    at = take(positive, plane.words, at);
    for (T* of : values) std::fill_n(of, plane.size(), T(0));
    for (auto& of_plane : later)
      for (uint64_t* of : of_plane)
        std::fill_n(of, plane.words, ~uint64_t(0));  // none is below the background
  }

  // Of plane z, from its first cell on.
  T* value(int64_t z) const { return values[(z + 2) % kValues] + plane.margin; }
  uint32_t* branch(int64_t z) const { return branches[(z + 3) % kBranches] + plane.margin; }
  uint64_t* is_above(int64_t z, int cell) const {
    return later[(z + 2) % 2][cell - kCentre - 1] + plane.margin / kWord;
  }
  uint64_t* is_positive() const { return positive + plane.margin / kWord; }

 private:
  template <class E>
  static uint8_t* take(E*& array, int64_t n, uint8_t* at) {
    array = reinterpret_cast<E*>(at);
    return at + n * int64_t(sizeof(E));
  }

  const Plane& plane;
  T* values[kValues];
  uint32_t* branches[kBranches];
  uint64_t *later[2][kLater], *positive;
};

// Bit i of 64: is b[i] above a[i]?
template <class T>
DAL_INLINE uint64_t higher(const T* a, const T* b) {
  uint8_t above[kWord];
  for (int64_t i = 0; i < kWord; ++i) above[i] = b[i] > a[i];
  return pack_64(above);
}

// Bits from bit `first` of the words on, which may be negative.
DAL_INLINE Bits bits_from(const uint64_t* words, int64_t first) {
  const int64_t word = first >> 6;
  const int shift = int(first & 63);
  return load_bits(words + word) >> shift | load_bits(words + word + 1) << 1 << (63 - shift);
}

// Of 64 voxels a number of five bits each, of which words[b] has bit b.
DAL_INLINE void bytes_from_bits(const uint64_t (&words)[5], uint8_t* bytes) {
  for (int i = 0; i < kWord; i += 8) {
    uint64_t eight = 0;
    for (int bit = 0; bit < 5; ++bit) {
      const uint64_t byte = words[bit] >> i & 255;
#if defined(__BMI2__)
      eight |= _pdep_u64(byte, 0x0101010101010101) << bit;
#else
      const uint64_t apart =
          byte * 0x0101010101010101 & 0x8040201008040201;  // the lowest bit in the first byte
      eight |= ((apart + 0x7f7f7f7f7f7f7f7f) >> 7 & 0x0101010101010101) << bit;
#endif
    }
    for (int j = 0; j < 8; ++j) bytes[i + j] = uint8_t(eight >> (8 * j));
  }
}

// What gives the rows of a volume: so that all else is compiled once for every type that is computed in A.
template <class A>
struct Rows {
  // The n values from voxel `first` on.
  virtual void load(int64_t first, int64_t n, A* row) const = 0;
};
template <class T>
struct VolumeRows final : Rows<arithmetic_t<T>> {
  const T* x;

  explicit VolumeRows(const T* x) : x(x) {}
  void load(int64_t first, int64_t n, arithmetic_t<T>* row) const override { load_row(x + first, n, row); }
};

// One volume, and where its links go.
template <class A>
struct Linking {
  const Rows<A>& x;
  const uint8_t* mask;
  const Tfce3dProblem& p;
  const Plane shape;
  const Word* words;
  const Tree& tree;
  Ranked<A>* items;  // by number

  // Plane z of the volume, with its background as zeros; zeros beyond the volume. No voxel is linked yet.
  void fill(int64_t z, const Window<A>& window) const {
    for (int64_t y = 0; y < p.height; ++y) {
      A* const row = window.value(z) + y * shape.row;
      uint32_t* const branch = window.branch(z) + y * shape.row;
      const int64_t offset = (z * p.height + y) * p.width;
      if (z < 0 || z >= p.depth ||
          positive_before(words, offset) == positive_before(words, offset + p.width)) {
        std::fill_n(row, p.width, A(0));
        continue;
      }
      x.load(offset, p.width, row);
      if (mask)
        for (int64_t i = 0; i < p.width; ++i)
          row[i] = (row[i] > 0) & (mask[offset + i] != 0) ? row[i] : A(0);
      else
        for (int64_t i = 0; i < p.width; ++i) row[i] = row[i] > 0 ? row[i] : A(0);
      number_row(offset, row, branch);
    }
  }

  // Of voxels that are not linked yet: kFlag and their numbers.
  void number_row(int64_t offset, const A* row, uint32_t* branch) const {
    const uint32_t first = kFlag | uint32_t(positive_before(words, offset));
    if ((kFlag | uint32_t(positive_before(words, offset + p.width))) == first + uint32_t(p.width)) {
      for (int64_t i = 0; i < p.width; ++i) branch[i] = first + uint32_t(i);
    } else {
      uint32_t number = first;
      for (int64_t i = 0; i < p.width; ++i) {
        branch[i] = number;
        number += row[i] > 0;
      }
    }
  }

  int64_t in_plane(int cell) const { return (cell / 3 % 3 - 1) * shape.row + cell % 3 - 1; }

  // Which voxels of plane z are positive, and which of the later cells are above them.
  void compare(int64_t z, const Window<A>& window) const {
    const A zeros[kWord] = {}, *const centre = window.value(z);
    for (int64_t word = 0; word < shape.cells / kWord; ++word) {
      const int64_t at = word * kWord;
      const uint64_t positive = higher(zeros, centre + at);
      window.is_positive()[word] = positive;
      for (int cell = kCentre + 1; cell < kCells; ++cell)
        window.is_above(z, cell)[word] =
            positive ? higher(centre + at, window.value(z + cell / 9 - 1) + in_plane(cell) + at)
                     : ~uint64_t(0);
    }
  }

  template <int connectivity>
  DAL_INLINE Links links_at(int64_t z, int64_t at, Bits positive, const Window<A>& window) const {
    Cells above;
#pragma GCC unroll 27
    for (int cell = 0; cell < kCells; ++cell)
      if (cell > kCentre)
        above.of[cell] = load_bits(window.is_above(z, cell) + at / kWord) & positive;
      else if (cell < kCentre)  // above, unless it is below as seen from there
        above.of[cell] =
            ~bits_from(window.is_above(z + cell / 9 - 1, kCells - 1 - cell), at + in_plane(cell)) &
            positive;
    above.of[kCentre] = Bits{};
    return link<connectivity>(above);
  }

  // Writes what is known of word `k` of a block, whose voxels begin at `value` and `branch`, cell `at` of
  // plane z.
  DAL_INLINE void write(const Links& links, int k, uint64_t positive, int64_t z, int64_t at,
                        const int64_t (&steps)[kCells], const A* value, uint32_t* branch,
                        Next& next) const {
    const uint64_t maxima = positive & ~links.above[k];
    for (uint64_t left = maxima; left; left &= left - 1) {
      const uint32_t own = --next.maximum;
      tree.nodes[own].branch = {own, tree.n, 0};
      branch[__builtin_ctzll(left)] = own;
    }
    for (uint64_t left = links.more[k]; left; left &= left - 1) {
      const int i = __builtin_ctzll(left);
      uint32_t others = 0;
#pragma GCC unroll 27
      for (int cell = 0; cell < kCells; ++cell)
        others |= uint32_t(links.others.of[cell][k] >> i & 1) << cell;
      const auto cell = uint32_t(at + i), row = uint32_t(shape.row);
      const auto position = uint32_t(z * p.height * p.width + cell / row * p.width + cell % row);
      tree.nodes[next.saddle++].saddle = {position, others, 0, 0};
    }
    uint64_t first[5];
    for (int bit = 0; bit < 5; ++bit) first[bit] = links.first[bit][k] | (kCentre >> bit & 1 ? maxima : 0);
    uint8_t cell[kWord];
    bytes_from_bits(first, cell);
    for (uint64_t left = positive; left; left &= left - 1) {
      const int i = __builtin_ctzll(left);
      branch[i] = branch[i + steps[cell[i]]];
      tree.branches[next.number] = branch[i];
      items[next.number] = Ranked<A>(value[i], next.number);
      ++next.number;
    }
  }

  template <int connectivity>
  void plane(int64_t z, const Window<A>& window) const {
    Next next(words, z * p.height * p.width, (z + 1) * p.height * p.width);
    int64_t steps[kCells];
    for (int cell = 0; cell < kCells; ++cell)
      steps[cell] = window.branch(z + cell / 9 - 1) - window.branch(z) + in_plane(cell);
    for (int64_t at = 0; at < shape.cells; at += kBlock) {
      const Bits positive = load_bits(window.is_positive() + at / kWord);
      if (!any(positive)) continue;
      const Links links = links_at<connectivity>(z, at, positive, window);
      for (int k = 0; k < kBlockWords; ++k) {
        const int64_t first = at + k * kWord;
        write(links, k, positive[k], z, first, steps, window.value(z) + first, window.branch(z) + first,
              next);
      }
    }
    tree.planes[z] = {next.saddle, next.maximum};
  }

  void slab(int64_t begin, int64_t end, const Window<A>& window) const {
    fill(begin - 1, window);
    fill(begin, window);
    compare(begin - 1, window);
    for (int64_t z = begin; z < end; ++z) {
      fill(z + 1, window);
      compare(z, window);
      if (p.connectivity == 6)
        plane<6>(z, window);
      else if (p.connectivity == 18)
        plane<18>(z, window);
      else
        plane<26>(z, window);
    }
  }
};

}  // namespace DAL_ISA
}  // namespace dal
