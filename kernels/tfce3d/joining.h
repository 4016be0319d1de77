// The component tree: voxels in falling order join the components that they touch.
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
  uint32_t number, position;
  uint32_t others;  // bits of the neighbours that stand for all groups but the first
  uint32_t branch;  // of the first one of these
};

// A voxel is a maximum, a saddle, or neither: one table holds both.
union Node {
  Branch branch;
  Saddle saddle;
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

// By number, for a local maximum: kFlag and its branch; for others: the number of a voxel that is above
// them and that they hang together with. Follows these links from voxels [begin, end) up to their maximum
// and writes its branch along the way. Threads may do so at a time: whoever writes to a voxel writes the
// same. From behind, as most links lead there.
inline void resolve(uint32_t* up, int64_t begin, int64_t end) {
  const auto read = [up](uint32_t at) { return __atomic_load_n(up + at, __ATOMIC_RELAXED); };
  for (int64_t i = end - 1; i >= begin; --i) {
    uint32_t top = read(uint32_t(i));
    if (top & kFlag) continue;
    do top = read(top);
    while (!(top & kFlag));
    for (uint32_t at = uint32_t(i), next; !((next = read(at)) & kFlag); at = next)
      __atomic_store_n(up + at, top, __ATOMIC_RELAXED);
  }
}

// The component tree of n voxels.
struct Tree {
  Node* nodes;
  uint32_t* parent;  // by rank: of the next voxel that the same component takes up; n for the lowest
  uint32_t* area;  // by rank: voxels of the component when it takes up this one
};

// by_rank: the branch that a voxel's link leads to, with kFlag for a saddle.
// up, words: to find the branches of a saddle's other neighbours.
template <class T>
void join(const Ranked<T>* ranked, const uint32_t* by_rank, int64_t n, const uint32_t* up,
          const Word* words, const Offsets& offsets, const Tree& tree) {
  constexpr int64_t kAhead = 24;  // ranks whose nodes are fetched before they are needed
  Node* const nodes = tree.nodes;
  for (int64_t i = 0; i < n; ++i) {
    if (i + kAhead < n) {
      const uint32_t branch = by_rank[i + kAhead], item = ranked[i + kAhead].number;
      __builtin_prefetch(nodes + (branch & ~kFlag), 1);
      __builtin_prefetch(nodes + ((branch & kFlag ? item : branch) & ~kFlag));
    }
    uint32_t joined = find(nodes, by_rank[i] & ~kFlag);
    tree.parent[nodes[joined].branch.last] = uint32_t(i);
    uint32_t size = nodes[joined].branch.size + 1;
    if (by_rank[i] & kFlag) {
      const Saddle saddle = nodes[ranked[i].number & ~kFlag].saddle;
      uint32_t next = saddle.branch;
      for (uint32_t left = saddle.others;;) {
        uint32_t other = find(nodes, next);
        if (other != joined) {
          tree.parent[nodes[other].branch.last] = uint32_t(i);
          size += nodes[other].branch.size;
          if (nodes[other].branch.size > nodes[joined].branch.size) {
            const uint32_t smaller = joined;
            joined = other;
            other = smaller;
          }
          nodes[other].branch.parent = joined;
        }
        if (!(left &= left - 1)) break;
        next = up[number_of(words, saddle.position + offsets.of[__builtin_ctz(left)])] & ~kFlag;
      }
    }
    nodes[joined].branch.last = uint32_t(i);
    nodes[joined].branch.size = size;
    tree.area[i] = size;
  }
}

}  // namespace DAL_ISA
}  // namespace dal
