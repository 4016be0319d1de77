// One volume at a time: number, link, settle, sort, join, integrate. Joining and the last sum take one
// thread, beside which the others prepare what it needs next; all else is shared.
//
//   number     numbering.h: the positive voxels as bits; their numbers in raster order
//   link       links.h, linking.h: which neighbours tell the components that a voxel joins
//   settle     settling.h: the branches of the local maxima that these links lead to
//   sort       numbers of positive voxels by falling value (a stable radix sort)
//   join       in that order, every voxel joins the components above it. A voxel's parent is the next voxel
//              that its component takes up; its area is the component's size when it is taken up itself
//   integrate  TFCE(u) = TFCE(parent) + area^E (x(u)^(H+1) - x(parent)^(H+1)) / (H + 1), from the lowest
//              voxel up, in double
//
// Integers decide all but the last step, which adds in one order: the bits depend on no thread and no path.
#include <algorithm>

#include "pages.h"
#include "parallel.h"
#include "tfce3d/joining.h"
#include "tfce3d/linking.h"
#include "tfce3d/numbering.h"
#include "tfce3d/settling.h"
#include "tfce3d/sorting.h"
#include "tfce3d/tfce3d.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kChunk = 1 << 15;  // ranks or numbers that a thread takes at a time
constexpr int64_t kSlab = 16;  // planes that a thread links at a time, at most

// Lays arrays one behind the other.
struct Arena {
  uintptr_t at;

  template <class P>
  P* take(int64_t n) {
    P* const array = reinterpret_cast<P*>(at);
    at += uintptr_t((n * int64_t(sizeof(P)) + kAlign - 1) / kAlign * kAlign);
    return array;
  }
};

// What one volume takes of the workspace, but for what is by number or rank.
template <class T>
struct Scratch {
  Word* words;
  int64_t* counts;  // of parts of the words
  PlaneNodes* planes;
  uint8_t* windows;  // one for each thread
  uint32_t* counters;  // of the sort
  uintptr_t end;

  Scratch(const Tfce3dProblem& p, uintptr_t start, int threads) {
    const int64_t voxels = p.depth * p.height * p.width, all = words_of(voxels);
    Arena arena{start};
    words = arena.take<Word>(all + 1);
    counts = arena.take<int64_t>(ceil_div(all, kWords));
    planes = arena.take<PlaneNodes>(p.depth);
    windows = arena.take<uint8_t>(threads * Window<T>::bytes(Plane(p)));
    counters = arena.take<uint32_t>(sort_counters(voxels, threads));
    end = arena.at;
  }
};

// For n positive voxels: behind the rest, so that few voxels touch few pages.
template <class T>
struct Ranks {
  Ranked<T>*items, *spare;
  Tree tree;
  uintptr_t end;

  Ranks(const Scratch<T>& s, int64_t n) {
    Arena arena{s.end};
    items = arena.take<Ranked<T>>(n + 1);
    spare = arena.take<Ranked<T>>(n + 1);
    tree.n = uint32_t(n);
    tree.words = s.words;
    tree.planes = s.planes;
    tree.branches = arena.take<uint32_t>(n);
    tree.parent = arena.take<uint32_t>(n + 1);
    tree.area = tree.joins = arena.take<uint32_t>(n + 2 * kBeyond);
    tree.nodes = arena.take<Node>(n);
    end = arena.at;
  }
  // What shares its memory with what is not needed any more: sums by rank (n + 1), once they are sorted;
  // sums by number (n + kBeyond), in the end.
  double* total() const { return reinterpret_cast<double*>(spare); }
  T* result() const { return reinterpret_cast<T*>(tree.parent); }
};

template <class T>
void link_planes(const Linking<T>& linking, uint8_t* windows, int threads) {
  const int64_t depth = linking.p.depth;
  const int64_t planes = std::max<int64_t>(1, std::min(kSlab, depth / (2 * threads)));
  parallel_for(ceil_div(depth, planes), threads, [&](int64_t slab, int slot) {
    using Planes = Window<T>;
    const Planes window(linking.shape, windows + slot * Planes::bytes(linking.shape));
    linking.slab(slab * planes, std::min(depth, (slab + 1) * planes), window);
  });
}

// Calls f(begin, end) for chunks of [begin, end), and at the same time, in one thread, alone().
template <class F, class G>
void in_chunks_beside(int64_t begin, int64_t end, int threads, F&& f, G&& alone) {
  parallel_for(ceil_div(end - begin, kChunk) + 1, threads, [&](int64_t task, int) {
    if (task == 0) return alone();
    const int64_t at = begin + (task - 1) * kChunk;
    f(at, std::min(end, at + kChunk));
  });
}

// Calls f(begin, end) for chunks of [begin, end).
template <class F>
void in_chunks(int64_t begin, int64_t end, int threads, F&& f) {
  in_chunks_beside(begin, end, threads, f, [] {});
}

// Where part `part` of n ranks begins: while one thread works on a part, the others do so on the next one.
constexpr int kParts = 4;
int64_t part_begin(int64_t n, int part) { return n * part / kParts; }

// From rank to rank, and, part by part ahead of that, what voxels join in the order of their ranks.
template <class T>
void join_by_rank(const Ranks<T>& r, const Offsets& offsets, int threads) {
  const auto order = [&](int64_t begin, int64_t end) {
    constexpr int64_t kAhead = 64;
    for (int64_t i = begin; i < end; ++i) {
      __builtin_prefetch(r.tree.branches + r.items[std::min(i + kAhead, end - 1)].number);
      r.tree.joins[i] = r.tree.branches[r.items[i].number];
    }
  };
  const int64_t n = r.tree.n;
  in_chunks(0, part_begin(n, 1), threads, order);
  for (int part = 0; part < kParts; ++part) {
    const int64_t begin = part_begin(n, part), end = part_begin(n, part + 1);
    const int64_t next = part_begin(n, std::min(part + 2, kParts));
    in_chunks_beside(end, next, threads, order, [&] { join(r.tree, offsets, begin, end); });
  }
}

// Calls f with x^e as a function of x > 0; the usual exponents without a call of pow.
template <class F>
void with_power(double e, F&& f) {
  if (e == 0) return f([](double) { return 1.0; });
  if (e == 0.25) return f([](double x) { return std::sqrt(std::sqrt(x)); });
  if (e == 0.5) return f([](double x) { return std::sqrt(x); });
  if (e == 0.75) return f([](double x) { return std::sqrt(x) * std::sqrt(std::sqrt(x)); });
  if (e == 1) return f([](double x) { return x; });
  if (e == 1.5) return f([](double x) { return x * std::sqrt(x); });
  if (e == 2) return f([](double x) { return x * x; });
  if (e == 3) return f([](double x) { return x * x * x; });
  f([e](double x) { return std::pow(x, e); });
}

// total[i] becomes area^E (x(u)^(H+1) - x(parent)^(H+1)) of the voxel u of rank i. One factor after the
// other: loops for every pair of powers take the compiler ten times as long.
template <class T>
void terms(const Tfce3dProblem& p, const Ranks<T>& r, int64_t begin, int64_t end) {
  constexpr int64_t kAtOnce = 256;
  T own[kAtOnce], lower[kAtOnce];
  for (; begin < end; begin += kAtOnce) {
    const int64_t count = std::min(kAtOnce, end - begin);
    double* const total = r.total() + begin;
    const uint32_t *const parent = r.tree.parent + begin, *const area = r.tree.area + begin;
    for (int64_t i = 0; i < count; ++i) {
      own[i] = r.items[begin + i].value();
      lower[i] = r.items[parent[i]].value();
    }
    with_power(p.height_power + 1, [&](auto height) {
      for (int64_t i = 0; i < count; ++i) {
        const double top = height(double(own[i])), bottom = height(double(lower[i]));
        total[i] = top == bottom ? 0 : top - bottom;  // two infinite ones among them
      }
    });
    with_power(p.extent_power, [&](auto extent) {
      for (int64_t i = 0; i < count; ++i) {
        const double term = extent(double(area[i])) * total[i];
        total[i] = total[i] == 0 ? 0 : term;
      }
    });
  }
}

// Adds up from rank end - 1 to `begin`. Nearly always the parent is the next lower voxel, whose sum is at
// hand: it is not waited for until it is stored and read again.
template <class T>
void add_up(const Ranks<T>& r, int64_t begin, int64_t end) {
  double* const total = r.total();
  const int64_t n = r.tree.n;
  const double none = 0;
  double below = end < n ? total[end] : none;
  for (int64_t i = end - 1; i >= begin; --i) {
    const int64_t parent = r.tree.parent[i];
    const bool next = parent == i + 1;
    const double elsewhere = *(next | (parent == n) ? &none : total + parent);
    total[i] = below = total[i] + (next ? below : elsewhere);
  }
}

// From the lowest voxel up.
template <class T>
void integrate(const Tfce3dProblem& p, const Ranks<T>& r, int threads) {
  const int64_t n = r.tree.n;
  r.items[n] = Ranked<T>(0, 0);  // the parent of what has none
  const auto of = [&](int64_t begin, int64_t end) { terms(p, r, begin, end); };
  in_chunks(part_begin(n, kParts - 1), n, threads, of);
  for (int part = kParts - 1; part >= 0; --part) {
    const int64_t begin = part_begin(n, part), end = part_begin(n, part + 1);
    const int64_t next = part_begin(n, std::max(part - 1, 0));
    in_chunks_beside(next, begin, threads, of, [&] { add_up(r, begin, end); });
  }
}

// Sums from ranks to numbers.
template <class T>
void order_by_number(const Ranks<T>& r, double scale, int threads) {
  T* const result = r.result();
  in_chunks(0, r.tree.n, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) result[r.items[i].number] = T(r.total()[i] * scale);
  });
}

template <class T>
void enhance(const T* x, const uint8_t* mask, T* out, const Tfce3dProblem& p, uintptr_t at, int threads) {
  using A = arithmetic_t<T>;
  const int64_t plane = p.height * p.width, voxels = p.depth * plane;
  const Offsets offsets(plane, p.width);
  const Scratch<A> s(p, at, threads);
  const int64_t n = number_positive(x, mask, voxels, s.words, s.counts, threads);
  Ranks<A> r(s, n);
  prefer_huge_pages(r.items, uintptr_t(r.tree.nodes) - s.end, threads);
  const VolumeRows<T> rows(x);
  link_planes(Linking<A>{rows, mask, p, Plane(p), s.words, r.tree, r.items}, s.windows, threads);
  settle_branches(r.tree, kChunk, threads);
  settle_saddles(r.tree, offsets, r.items, r.spare, p.depth, plane, threads);
  sort_descending(r.items, r.spare, n, s.counters, threads);
  join_by_rank(r, offsets, threads);
  end_components(r.tree, p.depth, plane);
  integrate(p, r, threads);
  order_by_number(r, 1 / (p.height_power + 1), threads);
  spread(r.result(), s.words, voxels, out, threads);
}

template <class T>
int64_t bytes_per_volume(const Tfce3dProblem& p, int threads) {
  using A = arithmetic_t<T>;
  const Scratch<A> s(p, kAlign, threads);
  return int64_t(Ranks<A>(s, p.depth * p.height * p.width).end) - kAlign;
}

}  // namespace

int64_t tfce3d_workspace(Tfce3dProblem p, DType dtype, int threads) {
  const int64_t at_once = p.volumes >= threads ? threads : 1;
  return with_dtype(dtype, [&](auto tag) {
    return at_once * bytes_per_volume<typename decltype(tag)::type>(p, threads) + kAlign;
  });
}

void tfce3d(const void* x, const uint8_t* mask, void* out, void* workspace, Tfce3dProblem p, DType dtype,
            int threads) {
  const int64_t voxels = p.depth * p.height * p.width;
  const auto start = (reinterpret_cast<uintptr_t>(workspace) + kAlign - 1) / kAlign * kAlign;
  with_dtype(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t bytes = bytes_per_volume<T>(p, threads);
    prefer_huge_pages(out, size_t(p.volumes * voxels) * sizeof(T), threads);
    const auto one = [&](int64_t volume, int slot, int inner_threads) {
      const int64_t offset = volume * voxels;
      enhance(static_cast<const T*>(x) + offset, mask ? mask + offset : nullptr,
              static_cast<T*>(out) + offset, p, start + uintptr_t(slot * bytes), inner_threads);
    };
    if (p.volumes >= threads) {
      parallel_for(p.volumes, threads, [&](int64_t volume, int slot) { one(volume, slot, 1); });
    } else {
      for (int64_t volume = 0; volume < p.volumes; ++volume) one(volume, 0, threads);
    }
  });
}

}  // namespace DAL_ISA
}  // namespace dal
