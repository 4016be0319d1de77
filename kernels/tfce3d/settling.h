// Which branches voxels join, settled in raster order before they are sorted.
#pragma once
#include <algorithm>
#include <cstdint>

#include "integers.h"
#include "parallel.h"
#include "tfce3d/joining.h"

namespace dal {
namespace DAL_ISA {

// Several threads read and write the same places while branches are settled; whatever is read leads to the
// branch.
DAL_INLINE uint32_t relaxed(const uint32_t& place) { return __atomic_load_n(&place, __ATOMIC_RELAXED); }
DAL_INLINE void relax(uint32_t& place, uint32_t value) {
  __atomic_store_n(&place, value, __ATOMIC_RELAXED);
}

// A voxel that was linked before the one that it leads to has kFlag and that one's number: it takes over
// that one's branch, and so do all on the way there.
inline void settle(uint32_t* branches, uint32_t number) {
  uint32_t end = relaxed(branches[number]);
  while (end & kFlag) end = relaxed(branches[end & ~kFlag]);
  for (uint32_t next; (next = relaxed(branches[number])) & kFlag; number = next & ~kFlag)
    relax(branches[number], end);
}

constexpr int64_t kFew = 16;  // voxels that are settled at once

// Settles [begin, end): a few steps at once for all, as it cannot be foreseen who needs them; then the
// rest.
DAL_INLINE void settle_few(uint32_t* branches, uint32_t begin, uint32_t end) {
  constexpr int kSteps = 3;
  if (end - begin == kFew) {
    constexpr uint32_t kPrefetch = 8 * kFew;
    if (begin >= kPrefetch)
      for (uint32_t j = 0; j < kFew; ++j)
        __builtin_prefetch(branches + (relaxed(branches[begin - kPrefetch + j]) & ~kFlag));
    uint32_t links[kFew], open = kFlag;
    for (uint32_t j = 0; j < kFew; ++j) links[j] = relaxed(branches[begin + j]);
    for (int step = 0; step < kSteps && open & kFlag; ++step) {
      open = 0;
      for (uint32_t j = 0; j < kFew; ++j) {
        const uint32_t none = (links[j] >> 31) - 1;  // all bits if the branch is known: then stay
        links[j] = relaxed(branches[(links[j] & ~kFlag & ~none) | ((begin + j) & none)]);
        open |= links[j];
      }
    }
    for (uint32_t j = 0; j < kFew; ++j) relax(branches[begin + j], links[j]);
    if (!(open & kFlag)) return;
  }
  for (uint32_t i = end; i > begin; --i) settle(branches, i - 1);
}

// From the last voxel to the first, as what is not yet known lies behind.
inline void settle_branches(const Tree& tree, int64_t chunk, int threads) {
  const int64_t chunks = ceil_div(tree.n, chunk);
  parallel_for(chunks, threads, [&](int64_t task, int) {
    const int64_t begin = (chunks - 1 - task) * chunk;
    for (int64_t end = std::min<int64_t>(tree.n, begin + chunk); end > begin; end -= kFew)
      settle_few(tree.branches, uint32_t(std::max(begin, end - kFew)), uint32_t(end));
  });
}

// The saddles of some planes, of voxels [first, end). Most of them join what hangs together already, often
// within these planes: what higher saddles of theirs have joined need not be joined again.
template <class T>
struct Saddles {
  const Tree& tree;
  const Offsets& offsets;
  int64_t plane;  // voxels
  int64_t begin, end;  // planes
  uint32_t first, last;  // numbers of their voxels, and nodes

  Saddles(const Tree& tree, const Offsets& offsets, int64_t plane, int64_t begin, int64_t end)
      : tree(tree),
        offsets(offsets),
        plane(plane),
        begin(begin),
        end(end),
        first(uint32_t(positive_before(tree.words, begin * plane))),
        last(uint32_t(positive_before(tree.words, end * plane))) {}

  template <class F>
  void each(F&& f) const {
    for (int64_t z = begin; z < end; ++z)
      for (auto node = uint32_t(positive_before(tree.words, z * plane)); node < tree.planes[z].saddles_end;
           ++node)
        f(node, tree.nodes[node].saddle);
  }

  uint32_t branch_at(int64_t position) const { return tree.branches[number_of(tree.words, position)]; }
  bool is_own(uint32_t branch) const { return branch >= first && branch < last; }

  // Are two branches known to hang together here? If not, they do from now on; of other planes nothing is
  // known.
  bool joined(uint32_t a, uint32_t b) const {
    if (a == b || !is_own(a) || !is_own(b)) return a == b;
    a = find(tree.nodes, a);
    b = find(tree.nodes, b);
    tree.nodes[b].branch.parent = a;
    return a == b;
  }

  // The branches of a saddle, those beyond the second one by their cells. Does it join any?
  bool look_up(Saddle& saddle) const {
    saddle.first = saddle.second = branch_at(saddle.position);
    for (uint32_t left = saddle.others; left; left &= left - 1) {
      const uint32_t cell = left & -left;
      const uint32_t other = branch_at(saddle.position + offsets.of[__builtin_ctz(cell)]);
      if (saddle.second == saddle.first) saddle.second = other;
      if (other == saddle.first || other == saddle.second) saddle.others &= ~cell;
    }
    return saddle.first != saddle.second;
  }

  // Leaves of a saddle what is not yet joined.
  void join(Saddle& saddle) const {
    const bool both = joined(saddle.first, saddle.second);
    if (both) saddle.second = saddle.first;
    for (uint32_t left = saddle.others; left; left &= left - 1) {
      const uint32_t cell = left & -left;
      const uint32_t other = branch_at(saddle.position + offsets.of[__builtin_ctz(cell)]);
      const bool known = joined(saddle.first, other);
      if (!known && saddle.second == saddle.first) saddle.second = other;
      if (known || saddle.second == other) saddle.others &= ~cell;
    }
  }

  // items: of all voxels, by number; spare: room for as many, of which the saddles take the part of their
  // voxels.
  void settle(const Ranked<T>* items, Ranked<T>* spare) const {
    Ranked<T>*sorted = spare + first, *end_of_sorted = sorted;
    each([&](uint32_t node, Saddle& saddle) {
      if (look_up(saddle))
        *end_of_sorted++ = Ranked<T>(items[number_of(tree.words, saddle.position)].value(), node);
    });
    const int64_t count = end_of_sorted - sorted, room = last - first;
    if (count == 0 || 2 * count > room) return;  // where nearly all are saddles, all of them are kept
    uint32_t counts[1 << kFewBits];
    sort_by_digits<kFewBits>(sorted, end_of_sorted, count, counts, 1, 1);
    for (int64_t i = 0; i < count; ++i) {
      constexpr int64_t kAhead = 8;
      if (i + 2 * kAhead < count) {
        __builtin_prefetch(tree.nodes + sorted[i + 2 * kAhead].number, 1);
        tree.prefetch(tree.nodes[sorted[i + kAhead].number].saddle);
      }
      join(tree.nodes[sorted[i].number].saddle);
    }
    separate();
  }

  // Every branch is on its own again.
  void separate() const {
    for (int64_t z = begin; z < end; ++z)
      for (uint32_t b = tree.planes[z].maxima_begin; b < positive_before(tree.words, (z + 1) * plane); ++b)
        tree.nodes[b].branch.parent = b;
  }

  void mark() const {
    each([&](uint32_t node, const Saddle& saddle) {
      if (saddle.first != saddle.second)
        tree.branches[number_of(tree.words, saddle.position)] = kFlag | node;
    });
  }
};

template <class T>
void settle_saddles(const Tree& tree, const Offsets& offsets, const Ranked<T>* items, Ranked<T>* spare,
                    int64_t depth, int64_t plane, int threads) {
  constexpr int64_t kPlanes = 16;
  const auto in_parts = [&](auto&& f) {
    parallel_for(ceil_div(depth, kPlanes), threads, [&](int64_t part, int) {
      f(Saddles<T>(tree, offsets, plane, part * kPlanes, std::min(depth, (part + 1) * kPlanes)));
    });
  };
  in_parts([&](const Saddles<T>& saddles) { saddles.settle(items, spare); });
  in_parts([&](const Saddles<T>& saddles) { saddles.mark(); });
}

}  // namespace DAL_ISA
}  // namespace dal
