// A volume as bits, its runs as nodes, and the union-find forest over them. Included by
// components3d_cpu.cpp only, once per instruction set.
//
// A node is a run of set bits in a node row. For connectivity 6 and 18 a node row is a row of voxels. For
// 26 it is the OR of 2 x 2 rows (z and z + 1, y and y + 1 for even z and y): any two voxels of one run
// of that are 26-connected, so there are a quarter of the rows and far fewer nodes.
//
//   connectivity 6, 18            26                      a row looks at its neighbours with y - 1 in the
//        . b .              . . | b1 b3 | . .             same plane and with y - 1, y, y + 1 in the plane
//   y    b a .              . b | a1 a3 |                 before; b is OR-ed over the rows that touch a
//     z ->                    b | a2 a4 |
#pragma once
#include <algorithm>

#include "bits.h"
#include "parallel.h"

namespace dal {
namespace DAL_ISA {
namespace {

DAL_INLINE int lowest_bit(uint64_t word) { return __builtin_ctzll(word); }

inline void pack_row(const uint8_t* p, int64_t width, uint64_t* words) {
  int64_t x = 0;
  for (; x + 64 <= width; x += 64) *words++ = pack_64(p + x);
  if (x == width) return;
  if (width >= 64) {
    *words = pack_64(p + width - 64) >> (64 - (width - x));
  } else {
    uint8_t tail[64] = {};
    __builtin_memcpy(tail, p, size_t(width));
    *words = pack_64(tail);
  }
}

// Calls f(begin, length) for every run of set bits, ascending; a run that goes on in the next word comes in
// parts, all of one node.
template <class F>
DAL_INLINE void for_each_run(const uint64_t* words, int64_t count, F&& f) {
  for (int64_t k = 0; k < count; ++k)
    for (uint64_t word = words[k], rest; word; word = rest) {
      rest = word & (word + (word & -word));  // a carry runs through the lowest run
      f(64 * k + lowest_bit(word), int64_t(__builtin_popcountll(word ^ rest)));
    }
}

// Parents never have a higher number than their children, so a root is the lowest node of its tree.
DAL_INLINE uint32_t find_root(uint32_t* parent, uint32_t i) {
  while (parent[i] != i) i = parent[i] = parent[parent[i]];
  return i;
}
DAL_INLINE void unite(uint32_t* parent, uint32_t a, uint32_t b) {
  if (parent[a] == parent[b]) return;
  a = find_root(parent, a);
  b = find_root(parent, b);
  parent[std::max(a, b)] = std::min(a, b);
}

// The nodes of one node row.
struct NodeRow {
  const uint64_t* starts;  // (words): first bits
  const uint32_t* rank;  // (words): nodes of the plane that start before the word
  uint32_t first;  // number of the plane's first node

  // The node that holds voxel x.
  DAL_INLINE uint32_t at(int64_t x) const {
    const uint64_t up_to_x = starts[x >> 6] << (63 - (x & 63));
    return first + rank[x >> 6] + uint32_t(__builtin_popcountll(up_to_x)) - 1;
  }
};

struct Forest {
  const int64_t depth, height, width;
  const int connectivity;
  const int64_t group;  // rows of voxels in a node row, along z and along y
  const int64_t planes, rows;  // of node rows
  const int64_t words;  // 64-bit words of a row

  uint64_t* bits;  // (planes * group, rows * group, words): the mask, zero beyond its border
  uint64_t* starts;  // (planes, rows, words): first bits of nodes
  uint32_t* rank;  // (planes, rows, words): nodes of the plane that start before the word
  uint32_t* first_node;  // (planes + 1): of the plane; the last entry counts all nodes
  uint32_t* components_before;  // (planes + 1): components that begin in earlier planes
  uint32_t* parent;  // (nodes): its root, after grow()
  uint32_t* value;  // (nodes): zero after grow(), for the caller's use
  uintptr_t end;  // of the workspace

  // The workspace begins at address `at`, a multiple of 8.
  Forest(int64_t depth, int64_t height, int64_t width, int connectivity, uintptr_t at)
      : depth(depth),
        height(height),
        width(width),
        connectivity(connectivity),
        group(connectivity == 26 ? 2 : 1),
        planes((depth + group - 1) / group),
        rows((height + group - 1) / group),
        words((width + 63) / 64),
        end(at) {
    const int64_t node_words = planes * rows * words, nodes = planes * rows * ((width + 1) / 2);
    bits = take<uint64_t>(node_words * group * group);
    starts = take<uint64_t>(node_words);
    rank = take<uint32_t>(node_words);
    first_node = take<uint32_t>(planes + 1);
    components_before = take<uint32_t>(planes + 1);
    parent = take<uint32_t>(nodes);
    value = take<uint32_t>(nodes);
  }

  template <class T>
  T* take(int64_t count) {
    T* const p = reinterpret_cast<T*>(end);
    end += uintptr_t(count * int64_t(sizeof(T)) + 7) / 8 * 8;
    return p;
  }

  // Finds the components of mask (depth, height, width).
  void grow(const uint8_t* mask, int threads) {
    for_each_plane(threads, [&](int64_t p) { read_plane(mask, p); });
    accumulate(first_node);
    const int64_t slabs = std::min<int64_t>(threads, planes);
    const auto cut = [&](int64_t slab) { return planes * slab / slabs; };
    parallel_for(slabs, threads, [&](int64_t slab, int) {
      const int64_t first = cut(slab), last = cut(slab + 1);
      for (uint32_t i = first_node[first]; i < first_node[last]; ++i) parent[i] = i;
      for (int64_t p = first; p < last; ++p) {
        link_plane(p);
        if (p > first) link_to_plane_before(p);
      }
    });
    for (int64_t slab = 1; slab < slabs; ++slab) link_to_plane_before(cut(slab));
    for_each_plane(threads, [&](int64_t p) { flatten_plane(p); });
    accumulate(components_before);
  }

  // f(p) for every plane of node rows, in tasks of some 2^18 voxels.
  template <class F>
  void for_each_plane(int threads, F&& f) const {
    const int64_t chunk = std::max<int64_t>(1, (int64_t(1) << 18) / (group * height * width));
    parallel_for((planes + chunk - 1) / chunk, threads, [&](int64_t task, int) {
      const int64_t stop = std::min(planes, (task + 1) * chunk);
      for (int64_t p = task * chunk; p < stop; ++p) f(p);
    });
  }

  // Entry p + 1 holds the count of plane p: makes it the count of planes 0..p.
  void accumulate(uint32_t* counts) const {
    counts[0] = 0;
    for (int64_t p = 0; p < planes; ++p) counts[p + 1] += counts[p];
  }

  uint64_t* row(int64_t z, int64_t y) const { return bits + (z * rows * group + y) * words; }

  NodeRow nodes(int64_t p, int64_t r) const {
    const int64_t at = (p * rows + r) * words;
    return {starts + at, rank + at, first_node[p]};
  }

  void read_plane(const uint8_t* mask, int64_t p) {
    for (int64_t z = p * group; z < (p + 1) * group; ++z)
      for (int64_t y = 0; y < rows * group; ++y) {
        if (z < depth && y < height)
          pack_row(mask + (z * height + y) * width, width, row(z, y));
        else
          std::fill(row(z, y), row(z, y) + words, uint64_t(0));
      }
    uint32_t nodes = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = (p * rows + r) * words, far = (group - 1) * words;
      const uint64_t *a = row(p * group, r * group), *b = row(p * group + group - 1, r * group);
      uint64_t last = 0;
      for (int64_t k = 0; k < words; ++k) {
        const uint64_t word = a[k] | a[k + far] | b[k] | b[k + far];
        starts[at + k] = word & ~(word << 1 | last);
        last = word >> 63;
        rank[at + k] = nodes;
        nodes += uint32_t(__builtin_popcountll(starts[at + k]));
      }
    }
    first_node[p + 1] = nodes;
  }

  // Rows of voxels OR-ed, as one side of a link between two node rows.
  struct Side {
    const uint64_t *first, *second;
    NodeRow nodes;
    DAL_INLINE uint64_t word(int64_t k) const { return first[k] | second[k]; }
  };

  // Unites the nodes of two rows that touch: at the same x and, if kDiagonal, at x and x +- 1.
  template <bool kDiagonal>
  void link(const Side a, const Side b) {
    uint32_t* const forest = parent;
    const auto join = [=](int64_t x_a, int64_t x_b) { unite(forest, a.nodes.at(x_a), b.nodes.at(x_b)); };
    uint64_t a_last = 0, b_last = 0;  // the words before
    for (int64_t k = 0; k < words; ++k) {
      const uint64_t wa = a.word(k), wb = b.word(k);
      const uint64_t a_left = wa << 1 | a_last >> 63, b_left = wb << 1 | b_last >> 63;
      a_last = wa;
      b_last = wb;
      if (!wa) continue;
      const int64_t x = 64 * k;
      for (uint64_t m = wa & wb & ~(a_left & b_left); m; m &= m - 1)  // where an overlap begins
        join(x + lowest_bit(m), x + lowest_bit(m));
      if (!kDiagonal) continue;
      const bool more = k + 1 < words;
      const uint64_t a_right = wa >> 1 | (more ? a.word(k + 1) << 63 : 0);
      const uint64_t b_right = wb >> 1 | (more ? b.word(k + 1) << 63 : 0);
      for (uint64_t m = wa & ~a_left & b_left & ~wb; m; m &= m - 1)  // a begins where b has ended
        join(x + lowest_bit(m), x + lowest_bit(m) - 1);
      for (uint64_t m = wa & ~a_right & b_right & ~wb; m; m &= m - 1)  // a ends where b begins
        join(x + lowest_bit(m), x + lowest_bit(m) + 1);
    }
  }

  // The OR of rows of voxels (z, y) and (z2, y2), as a side of plane p and node row r.
  Side side(int64_t p, int64_t r, int64_t z, int64_t y, int64_t z2, int64_t y2) const {
    return {row(z, y), row(z2, y2), nodes(p, r)};
  }

  void link_plane(int64_t p) {
    const int64_t z = p * group, z2 = z + group - 1;
    for (int64_t r = 1; r < rows; ++r) {
      const int64_t y = r * group;
      const Side a = side(p, r, z, y, z2, y), b = side(p, r - 1, z, y - 1, z2, y - 1);
      if (connectivity == 6)
        link<false>(a, b);
      else
        link<true>(a, b);
    }
  }

  void link_to_plane_before(int64_t p) {
    const int64_t z = p * group;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t y = r * group, y2 = y + group - 1;
      const Side a = side(p, r, z, y, z, y2), b = side(p - 1, r, z - 1, y, z - 1, y2);
      if (connectivity == 6) {
        link<false>(a, b);
        continue;
      }
      link<true>(a, b);
      if (r > 0) link_corner(side(p, r, z, y, z, y), side(p - 1, r - 1, z - 1, y - 1, z - 1, y - 1));
      if (r + 1 < rows)
        link_corner(side(p, r, z, y2, z, y2), side(p - 1, r + 1, z - 1, y2 + 1, z - 1, y2 + 1));
    }
  }
  void link_corner(const Side& a, const Side& b) {
    if (connectivity == 26)
      link<true>(a, b);
    else
      link<false>(a, b);
  }

  // Points every node of the plane at its root, clears its value and counts the plane's roots. Other
  // threads do the same to the planes that a path leads through: hence the atomics.
  void flatten_plane(int64_t p) {
    uint32_t roots = 0;
    for (uint32_t i = first_node[p]; i < first_node[p + 1]; ++i) {
      uint32_t at = i, next;
      while ((next = __atomic_load_n(parent + at, __ATOMIC_RELAXED)) != at) at = next;
      __atomic_store_n(parent + i, at, __ATOMIC_RELAXED);
      value[i] = 0;
      roots += at == i;
    }
    components_before[p + 1] = roots;
  }
};

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
