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
  uint32_t second;  // number of the first one of these
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

// The component tree of n voxels.
struct Tree {
  Node* nodes;
  uint32_t* parent;  // by rank: of the next voxel that the same component takes up; n for the lowest
  uint32_t* area;  // by rank: voxels of the component when it takes up this one
};

// The number of a voxel, or that of another voxel that its component is found by; from the item of a sort.
// Chosen by address, as which items are saddles cannot be foreseen.
DAL_INLINE uint32_t number_in(const uint32_t& item, const Node* nodes) {
  const uint32_t* const number = item & kFlag ? &nodes[item & ~kFlag].saddle.number : &item;
  return *number;
}

// up, by number, of a local maximum: kFlag and its branch; of others: the number of a voxel that is above
// them and that they hang together with. Once a voxel has joined, its branch takes the place of that: links
// only lead to voxels that have.
// words, offsets: to find the other neighbours of a saddle.
template <class T>
void join(const Ranked<T>* ranked, int64_t n, uint32_t* up, const Word* words, const Offsets& offsets,
          const Tree& tree) {
  constexpr int64_t kAhead = 20;  // ranks between one look-up that is made ahead and the next
  Node* const nodes = tree.nodes;
  for (int64_t i = 0; i < n; ++i) {
    if (i + 3 * kAhead < n) {
      const uint32_t far = ranked[i + 3 * kAhead].number;
      __builtin_prefetch(nodes + (far & kFlag ? far & ~kFlag : 0));
      __builtin_prefetch(up + number_in(ranked[i + 2 * kAhead].number, nodes), 1);
      const uint32_t near = ranked[i + kAhead].number;
      const uint32_t link = up[number_in(near, nodes)] & ~kFlag;
      __builtin_prefetch(up + link);
      __builtin_prefetch(up + *(near & kFlag ? &nodes[near & ~kFlag].saddle.second : &link));
    }
    const uint32_t item = ranked[i].number, number = number_in(item, nodes), link = up[number];
    uint32_t joined = find(nodes, link & kFlag ? link & ~kFlag : up[link]);
    tree.parent[nodes[joined].branch.last] = uint32_t(i);
    uint32_t size = nodes[joined].branch.size + 1;
    if (item & kFlag) {
      const Saddle saddle = nodes[item & ~kFlag].saddle;
      uint32_t next = saddle.second;
      for (uint32_t left = saddle.others;;) {
        uint32_t other = find(nodes, up[next]);
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
        next = number_of(words, saddle.position + offsets.of[__builtin_ctz(left)]);
      }
    }
    nodes[joined].branch.last = uint32_t(i);
    nodes[joined].branch.size = size;
    up[number] = joined;
    tree.area[i] = size;
  }
}

}  // namespace DAL_ISA
}  // namespace dal
