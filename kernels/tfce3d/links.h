// Where a voxel joins what is higher than it.
//
// Voxels are ordered by value, and by raster position among equals: u is above v when x(u) > x(v), or when
// the values are equal and u comes first. Seen from a voxel, the voxels above it in its 3 x 3 x 3
// neighbourhood fall into groups that hang together there already. One neighbour of each group is enough to
// tell which components the voxel joins when it is reached: none of them (a local maximum), one (nearly
// every voxel of a smooth map), or several (a saddle).
//
// A neighbourhood is a word of 27 bits, bit 13 + 9 dz + 3 dy + dx for the voxel that is (-dz, -dy, -dx)
// away. The lowest bits are those of the voxels that come last in a volume: they are chosen first.
#pragma once
#include <cstdint>

#include "simd.h"

namespace dal {
namespace DAL_ISA {

constexpr uint32_t kWhole = (1u << 27) - 1, kCentre = 1u << 13;
constexpr uint32_t kFirstColumn = 0x1249249, kFirstRows = 0x1C0E07;  // dx == 0; dy == 0

// The neighbours of the centre under a connectivity of 6, 18 or 26.
constexpr uint32_t neighbours(int connectivity) {
  uint32_t cells = 0;
  for (int bit = 0; bit < 27; ++bit) {
    const int x = bit % 3 != 1, y = bit / 3 % 3 != 1, z = bit / 9 != 1;
    const int reach = connectivity == 6 ? 1 : connectivity == 18 ? 2 : 3;
    if (bit != 13 && x + y + z <= reach) cells |= 1u << bit;
  }
  return cells;
}

constexpr uint32_t kFlag = uint32_t(1) << 31;  // a bit that neither positions nor numbers of voxels need

// How far the cells of a neighbourhood are from its voxel in a volume.
struct Offsets {
  int64_t of[27];

  Offsets(int64_t plane, int64_t row) {
    for (int bit = 0; bit < 27; ++bit)
      of[bit] = (1 - bit / 9) * plane + (1 - bit / 3 % 3) * row + 1 - bit % 3;
  }
};

template <class W>
DAL_INLINE W along_x(W m) {
  return m | ((m & (kWhole & ~(kFirstColumn << 2))) << 1) | ((m & (kWhole & ~kFirstColumn)) >> 1);
}
template <class W>
DAL_INLINE W along_y(W m) {
  return m | ((m & (kWhole & ~(kFirstRows << 6))) << 3) | ((m & (kWhole & ~kFirstRows)) >> 3);
}
template <class W>
DAL_INLINE W along_z(W m) {
  return m | ((m << 9) & kWhole) | (m >> 9);
}

// The cells of a neighbourhood that are among `cells` or touch one of them.
template <int connectivity, class W>
DAL_INLINE W touching(W cells) {
  const W x = along_x(cells);
  if constexpr (connectivity == 26) return along_z(along_y(x));
  const W y = along_y(cells);
  if constexpr (connectivity == 6) return x | y | along_z(cells);
  return along_y(x) | along_z(x) | along_z(y);
}

// Is a bit set in any lane?
template <class W>
DAL_INLINE bool any(W w) {
#if defined(__AVX512F__)
  if constexpr (sizeof(W) == 64) return _mm512_test_epi64_mask((__m512i)w, (__m512i)w) != 0;
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(W) == 32) return !_mm256_testz_si256((__m256i)w, (__m256i)w);
#endif
  uint64_t words[sizeof(W) / 8], bits = 0;
  __builtin_memcpy(words, &w, sizeof(W));
  for (uint64_t word : words) bits |= word;
  return bits != 0;
}

// One neighbour of the centre from each group of `above` (one neighbourhood a lane).
template <int connectivity, class W>
DAL_INLINE W representatives(W above) {
  W chosen{};
  W left = above & neighbours(connectivity);
  for (;;) {
    if (!any(left)) return chosen;
    // one that shares a face, if there is one: it touches most of the others
    const W faces = left & neighbours(6), first = faces != 0 ? faces : left;
    W group = first & (~first + 1u);
    chosen |= group;
    for (;;) {
      const W grown = touching<connectivity>(group) & above;
      // a lane is done when nothing joined its group, or when no other neighbour is left
      const bool complete = !any((grown != group) & ((left & ~grown) != 0));
      group = grown;
      if (complete) break;
    }
    left &= ~group;
  }
}

}  // namespace DAL_ISA
}  // namespace dal
