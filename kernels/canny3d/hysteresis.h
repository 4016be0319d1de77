// Hysteresis over 26 neighbours on rows of bits: strong grows into weak until nothing changes.
//
// The volume is cut into slabs of planes, one task each. A task keeps a queue of its rows that may have
// to grow; a row that grew queues the eight rows around it, or, across the slab's border, marks them
// dirty for the next round. The words of border planes are read by the neighbour while their owner
// writes: all access is atomic, and a mark is set after the words it announces. Growth only adds bits and
// the end of it is unique, so neither timing nor the number of slabs can be seen in the result.
#pragma once
#include <cstdint>

#include "canny3d/plan.h"
#include "parallel.h"

namespace dal {
namespace DAL_ISA {
namespace {

// seeds (a subset of open) and all open bits that a run of open bits joins to them from below / above.
DAL_INLINE uint64_t grow_up(uint64_t seeds, uint64_t open) {
  for (int step = 1; step < 64; step *= 2) {
    seeds |= open & (seeds << step);
    open &= open << step;
  }
  return seeds;
}
DAL_INLINE uint64_t grow_down(uint64_t seeds, uint64_t open) {
  for (int step = 1; step < 64; step *= 2) {
    seeds |= open & (seeds >> step);
    open &= open >> step;
  }
  return seeds;
}

DAL_INLINE uint64_t peek(const uint64_t* word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }

template <class A>
struct Hysteresis {
  const Plan<A>& plan;
  const Shared<A>& shared;
  int64_t slabs;

  int64_t row_step() const { return plan.words; }  // words from a row to the next in y
  int64_t plane_step() const { return (plan.height + 2) * plan.words; }
  Range slab(int64_t i) const { return {plan.depth * i / slabs, plan.depth * (i + 1) / slabs}; }

  uint64_t around(const uint64_t* word) const {  // the same word of the eight rows around and of the row
    uint64_t any = 0;
    for (int64_t z = -1; z <= 1; ++z)
      for (int64_t y = -1; y <= 1; ++y) any |= peek(word + z * plane_step() + y * row_step());
    return any;
  }

  bool has_open(int64_t row) const {
    const uint64_t *weak = shared.weak + row * plan.words, *strong = shared.strong + row * plan.words;
    uint64_t open = 0;
    for (int64_t k = 0; k < plan.words; ++k) open |= weak[k] & ~peek(strong + k);
    return open != 0;
  }

  // Grows one row from its neighbours and along itself; true if a bit was added.
  bool grow_row(int64_t row) const {
    const uint64_t* weak = shared.weak + row * plan.words;
    uint64_t* strong = shared.strong + row * plan.words;
    bool grown = false;
    const auto put = [&](int64_t k, uint64_t before, uint64_t after) {
      if (after == before) return;
      __atomic_store_n(strong + k, after, __ATOMIC_RELAXED);
      grown = true;
    };
    uint64_t left = 0, here = around(strong), carry = 0;
    for (int64_t k = 0; k < plan.words; ++k) {
      const uint64_t right = k + 1 < plan.words ? around(strong + k + 1) : 0;
      const uint64_t touched = here | here << 1 | here >> 1 | left >> 63 | right << 63 | carry;
      const uint64_t before = peek(strong + k), after = grow_up(before | (weak[k] & touched), weak[k]);
      put(k, before, after);
      carry = after >> 63;
      left = here;
      here = right;
    }
    carry = 0;
    for (int64_t k = plan.words - 1; k >= 0; --k) {
      const uint64_t before = peek(strong + k), after = grow_down(before | (weak[k] & carry), weak[k]);
      put(k, before, after);
      carry = after << 63;
    }
    return grown;
  }

  // One slab to its own fixpoint. First round: every row with open bits; later: the dirty border rows.
  void grow_slab(int64_t index, bool first_round) const {
    const Range z = slab(index);
    const int64_t capacity = z.size() * plan.height;
    int64_t* const queue = shared.queue + z.begin * plan.height;
    int64_t head = 0, count = 0;
    const auto push = [&](int64_t row) {
      if (shared.queued[row] || !has_open(row)) return;
      shared.queued[row] = 1;
      queue[(head + count++) % capacity] = row;
    };
    for (int64_t plane = z.begin; plane < z.end; ++plane) {
      if (!first_round && plane != z.begin && plane != z.end - 1) continue;
      for (int64_t y = 0; y < plan.height; ++y) {
        const int64_t row = plan.bit_row(plane, y);
        if (first_round || __atomic_exchange_n(shared.dirty + row, 0, __ATOMIC_ACQUIRE)) push(row);
      }
    }
    const int64_t own_begin = plan.bit_row(z.begin, -1), own_end = plan.bit_row(z.end, -1);
    while (count) {
      const int64_t row = queue[head];
      head = head + 1 == capacity ? 0 : head + 1;
      --count;
      shared.queued[row] = 0;
      if (!grow_row(row)) continue;
      for (int64_t dz = -1; dz <= 1; ++dz)
        for (int64_t dy = -1; dy <= 1; ++dy) {
          const int64_t next = row + dz * (plan.height + 2) + dy;
          if (next >= own_begin && next < own_end) {
            if (next != row) push(next);
          } else {
            __atomic_store_n(shared.dirty + next, 1, __ATOMIC_RELEASE);
          }
        }
    }
  }

  // Between rounds, alone: is a border row of any slab dirty?
  bool any_dirty() const {
    for (int64_t i = 0; i < slabs; ++i)
      for (const int64_t z : {slab(i).begin, slab(i).end - 1})
        for (int64_t y = 0; y < plan.height; ++y)
          if (shared.dirty[plan.bit_row(z, y)]) return true;
    return false;
  }
};

// strong becomes the edges. queued and dirty must be zero.
template <class A>
void grow_edges(const Plan<A>& plan, const Shared<A>& shared, int threads) {
  const int64_t slabs = std::max<int64_t>(1, std::min<int64_t>(threads, plan.depth / 8));
  const Hysteresis<A> hysteresis{plan, shared, slabs};
  bool first_round = true;
  do {
    parallel_for(slabs, threads, [&](int64_t i, int) { hysteresis.grow_slab(i, first_round); });
    first_round = false;
  } while (slabs > 1 && hysteresis.any_dirty());
}

}  // namespace
}  // namespace DAL_ISA
}  // namespace dal
