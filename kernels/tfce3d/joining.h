// The component tree: voxels in falling order join the components that they touch.
//
// A component is known by the branch of one local maximum. Which branch a voxel hangs together with when it
// is reached is settled before, in raster order, so that joining takes the voxels as a stream.
#pragma once
#include <cstdint>

#include "tfce3d/links.h"
#include "tfce3d/numbering.h"
#include "tfce3d/sorting.h"

namespace dal {
namespace DAL_ISA {

// A component that grew from a local maximum; joined to another one, it only points there.
struct Branch {
  uint32_t parent;  // itself while it is on its own
  uint32_t last;  // rank of the voxel that it took up last; the number of ranks before the first
  uint32_t size;  // voxels
};

// A voxel that more than one group is above, see links.h.
struct Saddle {
  uint32_t position;  // in the volume
  uint32_t others;  // cells that stand for groups; once settled, for branches beyond the second one
  uint32_t first, second;  // branches that it joins; the same ones if it joins only one
};

// A voxel is a maximum, a saddle, or neither: one table holds both.
union Node {
  Branch branch;
  Saddle saddle;
};

// Of a plane, nodes begin at its first number; saddles come first, and maxima end at its last number.
struct PlaneNodes {
  uint32_t saddles_end, maxima_begin;
};

// The component tree of n voxels. Of each voxel, by number and by rank, `branches` and `joins` have the
// branch that it joins, or kFlag and the node of its saddle.
struct Tree {
  uint32_t n;
  const Word* words;
  PlaneNodes* planes;
  Node* nodes;
  uint32_t* branches;
  uint32_t* joins;
  uint32_t* parent;  // by rank: of the next voxel that the same component takes up; n for the lowest
  uint32_t* area;  // by rank: voxels of the component when it takes up this one. In the place of `joins`

  void prefetch(const Saddle& saddle) const {
    __builtin_prefetch(nodes + saddle.first, 1);
    __builtin_prefetch(nodes + saddle.second, 1);
  }
};

// While planes are linked: the number of the next voxel, and the nodes of the next saddle and the last
// maximum.
struct Next {
  uint32_t number, saddle, maximum;

  Next(const Word* words, int64_t first, int64_t end)
      : number(uint32_t(positive_before(words, first))),
        saddle(number),
        maximum(uint32_t(positive_before(words, end))) {}
};

// The branch that b belongs to now. All on the way are made to point there, so that nearly always the first
// step is enough, and taken whether or not it is one: what cannot be foreseen costs more than it.
DAL_INLINE uint32_t find(Node* nodes, uint32_t b) {
  const auto parent = [nodes](uint32_t at) -> uint32_t& { return nodes[at].branch.parent; };
  uint32_t root = parent(b);
  if (__builtin_expect(parent(root) != root, 0)) {
    while (parent(root) != root) root = parent(root);
    for (uint32_t next; (next = parent(b)) != root; b = next) parent(b) = root;
  }
  return root;
}

// Two components become one, of which the voxel of rank i is the parent; returns the branch that goes on.
DAL_INLINE uint32_t unite(const Tree& tree, uint32_t a, uint32_t b, uint32_t i) {
  Node* const nodes = tree.nodes;
  a = find(nodes, a);
  b = find(nodes, b);
  if (a == b) return a;
  const bool smaller = nodes[a].branch.size < nodes[b].branch.size;
  Branch &goes_on = nodes[smaller ? b : a].branch, &ends = nodes[smaller ? a : b].branch;
  tree.parent[ends.last] = i;
  goes_on.size += ends.size;
  return ends.parent = goes_on.parent;
}

inline uint32_t join_saddle(const Tree& tree, const Offsets& offsets, const Saddle& saddle, uint32_t i) {
  uint32_t joined = unite(tree, saddle.first, saddle.second, i);
  for (uint32_t left = saddle.others; left; left &= left - 1) {
    const int64_t position = saddle.position + offsets.of[__builtin_ctz(left)];
    const uint32_t other = tree.branches[number_of(tree.words, position)];
    joined = unite(tree, joined, other & kFlag ? tree.nodes[other & ~kFlag].saddle.first : other, i);
  }
  return joined;
}

// Ranks [begin, end), after all before. offsets: to find a saddle's branches beyond the second one.
inline void join(const Tree& tree, const Offsets& offsets, int64_t begin, int64_t end) {
  constexpr int64_t kAhead = 16;
  Node* const nodes = tree.nodes;
  for (auto i = uint32_t(begin); i < end; ++i) {
    if (i + 2 * kAhead < end) {
      __builtin_prefetch(nodes + (tree.joins[i + 2 * kAhead] & ~kFlag), 1);
      const uint32_t ahead = tree.joins[i + kAhead];
      if (ahead & kFlag) tree.prefetch(nodes[ahead & ~kFlag].saddle);
    }
    const uint32_t to = tree.joins[i];
    const uint32_t joined =
        to & kFlag ? join_saddle(tree, offsets, nodes[to & ~kFlag].saddle, i) : find(nodes, to);
    Branch& branch = nodes[joined].branch;
    tree.parent[branch.last] = i;
    branch.last = i;
    tree.area[i] = ++branch.size;
  }
}

// The lowest voxel of every component has no parent: that is rank n.
inline void end_components(const Tree& tree, int64_t depth, int64_t plane) {
  for (int64_t z = 0; z < depth; ++z)
    for (int64_t b = tree.planes[z].maxima_begin; b < positive_before(tree.words, (z + 1) * plane); ++b) {
      const Branch branch = tree.nodes[b].branch;
      if (branch.parent == b) tree.parent[branch.last] = tree.n;
    }
}

}  // namespace DAL_ISA
}  // namespace dal
