// The component tree: voxels in falling order join the components that they touch.
#pragma once
#include <cstdint>

#include "sorting.h"

namespace dal {
namespace DAL_ISA {

// A component that grew from a local maximum; joined to another one, it only points there.
struct Branch {
  uint32_t parent;  // itself while it is on its own
  uint32_t last;  // rank of the voxel that it took up last
  uint32_t size;  // voxels
};

DAL_INLINE uint32_t find(Branch* branch, uint32_t b) {
  while (branch[b].parent != b) {
    branch[b].parent = branch[branch[b].parent].parent;
    b = branch[b].parent;
  }
  return b;
}

// parent[rank]: of the next voxel that the same component takes up, n for the lowest of a component.
// area[rank]: voxels of the component when it takes up this one.
// nodes: links (links.h) of the padded volume. Once a voxel has joined, its branch takes their place: links
// only lead to voxels that have.
template <class T>
void join(const Ranked<T>* ranked, int64_t n, uint32_t* nodes, int64_t stride, int64_t plane,
          Branch* branch, uint32_t* parent, uint32_t* area) {
  constexpr int64_t kAhead = 24;  // ranks whose lines are fetched before they are needed
  int64_t offset[27];
  for (int bit = 0; bit < 27; ++bit)
    offset[bit] = (bit / 9 - 1) * plane + (bit / 3 % 3 - 1) * stride + bit % 3 - 1;
  uint32_t branches = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (i + 2 * kAhead < n) __builtin_prefetch(nodes + ranked[i + 2 * kAhead].position, 1);
    if (i + kAhead < n) {
      const int64_t next = ranked[i + kAhead].position;
      if (nodes[next]) __builtin_prefetch(nodes + next + offset[__builtin_ctz(nodes[next])]);
    }
    const int64_t at = ranked[i].position;
    uint32_t word = nodes[at], joined, size;
    if (!word) {
      joined = branches++;
      branch[joined].parent = joined;
      size = 1;
    } else {
      joined = find(branch, nodes[at + offset[__builtin_ctz(word)]]);
      parent[branch[joined].last] = uint32_t(i);
      size = branch[joined].size + 1;
      for (word &= word - 1; word; word &= word - 1) {
        uint32_t other = find(branch, nodes[at + offset[__builtin_ctz(word)]]);
        if (other == joined) continue;
        parent[branch[other].last] = uint32_t(i);
        size += branch[other].size;
        if (branch[other].size > branch[joined].size) {
          const uint32_t smaller = joined;
          joined = other;
          other = smaller;
        }
        branch[other].parent = joined;
      }
    }
    branch[joined].last = uint32_t(i);
    branch[joined].size = size;
    nodes[at] = joined;
    area[i] = size;
  }
  for (uint32_t b = 0; b < branches; ++b)
    if (branch[b].parent == b) parent[branch[b].last] = uint32_t(n);
}

}  // namespace DAL_ISA
}  // namespace dal
