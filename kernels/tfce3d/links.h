// Where a voxel joins what is higher than it, for as many voxels at a time as a vector has bits.
//
// Voxels are ordered by value, and by raster position among equals: u is above v when x(u) > x(v), or when
// the values are equal and u comes first. Seen from a voxel, the voxels above it in its 3 x 3 x 3
// neighbourhood fall into groups that hang together there already. One neighbour of each group is enough to
// tell which components the voxel joins when it is reached: none of them (a local maximum), one (nearly
// every voxel of a smooth map), or several (a saddle).
//
// A neighbourhood has 27 cells: cell 13 + 9 dz + 3 dy + dx is the voxel that is (dz, dy, dx) away. A bit of
// the vector of a cell stands for one voxel, so that a step of a flood takes one instruction for all.
#pragma once
#include <cstdint>

#include "simd.h"

namespace dal {
namespace DAL_ISA {

constexpr int kCells = 27, kCentre = 13;
constexpr uint32_t kFlag = uint32_t(1) << 31;  // a bit that neither positions nor numbers of voxels need

// One bit for each voxel.
typedef uint64_t Bits __attribute__((vector_size(kVectorBytes)));
constexpr int64_t kBlock = 8 * kVectorBytes;  // voxels of a vector
constexpr int kBlockWords = kVectorBytes / 8;

DAL_INLINE Bits load_bits(const uint64_t* words) {
  Bits bits;
  __builtin_memcpy(&bits, words, sizeof(bits));
  return bits;
}

template <class W>
DAL_INLINE bool any(W bits) {
#if defined(__AVX512F__)
  if constexpr (sizeof(W) == 64) return _mm512_test_epi64_mask((__m512i)bits, (__m512i)bits) != 0;
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(W) == 32) return !_mm256_testz_si256((__m256i)bits, (__m256i)bits);
#endif
  uint64_t all = 0;
  for (int i = 0; i < kBlockWords; ++i) all |= bits[i];
  return all != 0;
}

// How many axes a cell is off the centre, and is it a neighbour under a connectivity of 6, 18 or 26?
constexpr int axes_off(int cell) { return (cell % 3 != 1) + (cell / 3 % 3 != 1) + (cell / 9 != 1); }
constexpr bool is_neighbour(int cell, int connectivity) {
  return cell != kCentre && axes_off(cell) <= (connectivity == 6 ? 1 : connectivity == 18 ? 2 : 3);
}

// How far the cells of a neighbourhood are from its voxel in a volume.
struct Offsets {
  int64_t of[kCells];

  Offsets(int64_t plane, int64_t row) {
    for (int cell = 0; cell < kCells; ++cell)
      of[cell] = (cell / 9 - 1) * plane + (cell / 3 % 3 - 1) * row + cell % 3 - 1;
  }
};

// Cells in the order of preference. Those that come before the voxel have joined a branch when it is
// linked; one that shares a face touches most of the others, so that a flood from there soon ends.
constexpr int kPreferred[kCells - 1] = {4,  10, 12, 1,  3,  5,  7,  9,  11, 0,  2,  6,  8,
                                        14, 16, 22, 15, 17, 19, 21, 23, 25, 18, 20, 24, 26};

struct Cells {
  Bits of[kCells];

  // The cells and those beside them along the axis of this stride: 1, 3 or 9.
  template <int stride>
  DAL_INLINE Cells along() const {
    Cells wide;
#pragma GCC unroll 27
    for (int cell = 0; cell < kCells; ++cell) {
      if (cell / stride % 3 != 0) continue;
      const Bits first = of[cell] | of[cell + stride], last = of[cell + stride] | of[cell + 2 * stride];
      wide.of[cell] = first;
      wide.of[cell + stride] = first | of[cell + 2 * stride];
      wide.of[cell + 2 * stride] = last;
    }
    return wide;
  }
  DAL_INLINE Cells operator|(const Cells& other) const {
    Cells both;
#pragma GCC unroll 27
    for (int cell = 0; cell < kCells; ++cell) both.of[cell] = of[cell] | other.of[cell];
    return both;
  }
};

// The cells that are among these or touch one of them.
template <int connectivity>
DAL_INLINE Cells touching(const Cells& cells) {
  const Cells x = cells.along<1>();
  if constexpr (connectivity == 26) return x.along<3>().along<9>();
  const Cells y = cells.along<3>();
  if constexpr (connectivity == 6) return x | y | cells.along<9>();
  return x.along<3>() | x.along<9>() | y.along<9>();
}

// Of every voxel, the preferred one among the cells that are its neighbours.
template <int connectivity>
DAL_INLINE Cells preferred(const Cells& cells) {
  Cells chosen{};
  Bits found{};
#pragma GCC unroll 26
  for (int i = 0; i < kCells - 1; ++i) {
    const int cell = kPreferred[i];
    if (!is_neighbour(cell, connectivity)) continue;
    chosen.of[cell] = cells.of[cell] & ~found;
    found |= cells.of[cell];
  }
  return chosen;
}

// Takes from `left` all that hangs together with `group` within `above`; is anything left?
template <int connectivity>
DAL_INLINE bool take_group(Cells group, const Cells& above, Cells& left) {
  for (;;) {
    Cells grown = group;
    for (int step = 0; step < 2; ++step) {
      grown = touching<connectivity>(grown);
#pragma GCC unroll 27
      for (int cell = 0; cell < kCells; ++cell) grown.of[cell] &= above.of[cell];
    }
    // a voxel is done when nothing joined its group, or when none of its neighbours is left
    Bits growing{}, remaining{};
#pragma GCC unroll 27
    for (int cell = 0; cell < kCells; ++cell) {
      if (cell == kCentre) continue;
      growing |= grown.of[cell] ^ group.of[cell];
      if (is_neighbour(cell, connectivity)) remaining |= left.of[cell] & ~grown.of[cell];
    }
    group = grown;
    if (any(growing & remaining)) continue;
#pragma GCC unroll 27
    for (int cell = 0; cell < kCells; ++cell) left.of[cell] &= ~group.of[cell];
    return any(remaining);
  }
}

// Where voxels link to: one cell of each group of those above them.
struct Links {
  Bits above;  // which voxels have any
  Bits more;  // which have several
  Bits first[5];  // the number of the cell chosen from the first group, by its bits
  Cells others;  // those of the other groups
};

template <int connectivity>
DAL_INLINE Links link(const Cells& above) {
  Links links{};
  Cells left{};
#pragma GCC unroll 27
  for (int cell = 0; cell < kCells; ++cell)
    if (is_neighbour(cell, connectivity)) {
      left.of[cell] = above.of[cell];
      links.above |= above.of[cell];
    }
  Cells chosen = preferred<connectivity>(left);
#pragma GCC unroll 27
  for (int cell = 0; cell < kCells; ++cell)
#pragma GCC unroll 5
    for (int bit = 0; bit < 5; ++bit)
      if (cell >> bit & 1) links.first[bit] |= chosen.of[cell];
  while (take_group<connectivity>(chosen, above, left)) {
    chosen = preferred<connectivity>(left);
#pragma GCC unroll 27
    for (int cell = 0; cell < kCells; ++cell) {
      links.others.of[cell] |= chosen.of[cell];
      links.more |= chosen.of[cell];
    }
  }
  return links;
}

}  // namespace DAL_ISA
}  // namespace dal
