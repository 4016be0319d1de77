// One volume at a time: number, link, sort, join, integrate. All but joining and the last sum is
// shared among the threads.
//
//   number     numbering.h: the positive voxels as bits; their numbers in raster order
//   link       links.h: which neighbours tell the components that a voxel joins
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
#include "tfce3d/links.h"
#include "tfce3d/numbering.h"
#include "tfce3d/sorting.h"
#include "tfce3d/tfce3d.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kChunk = 1 << 15;  // ranks or numbers that a thread takes at a time
constexpr int64_t kSlab = 16;  // planes that a thread links at a time, at most

// Three planes of values with a border of zeros, of which the middle one is linked. Rows hold whole vectors
// behind their border.
struct Window {
  int64_t height, width, row, plane;

  explicit Window(const Tfce3dProblem& p) : height(p.height), width(p.width) {
    row = (width + 32) / 16 * 16;
    plane = (height + 2) * row + kAlign;
  }
  int64_t size() const { return 3 * plane; }
};

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
  int64_t* maxima;  // of each plane
  T* windows;  // one for each thread
  uint32_t* counters;  // of the sort
  uintptr_t end;

  Scratch(const Tfce3dProblem& p, uintptr_t start, int threads) {
    const int64_t voxels = p.depth * p.height * p.width, all = words_of(voxels);
    Arena arena{start};
    words = arena.take<Word>(all + 1);
    counts = arena.take<int64_t>(ceil_div(all, kWords));
    maxima = arena.take<int64_t>(p.depth);
    windows = arena.take<T>(threads * Window(p).size());
    counters = arena.take<uint32_t>(sort_counters(voxels, threads));
    end = arena.at;
  }
};

// For n positive voxels: behind the rest, so that few voxels touch few pages.
template <class T>
struct Ranks {
  Ranked<T>*items, *spare;
  double* height;  // n + kBeyond
  Tree tree;  // of the nodes of a plane, maxima begin at its first number, and saddles end at its last one
  uintptr_t end;

  Ranks(const Scratch<T>& s, int64_t n) {
    Arena arena{s.end};
    items = arena.take<Ranked<T>>(n + 1);
    spare = arena.take<Ranked<T>>(n + 1);
    height = arena.take<double>(n + kBeyond);
    tree.parent = arena.take<uint32_t>(n + 1);
    tree.area = arena.take<uint32_t>(n);
    tree.nodes = arena.take<Node>(n);
    end = arena.at;
  }
  // What shares its memory with what is not needed at the time: links by number, until voxels have joined;
  // sums by rank (n + 1), once they are sorted; sums by number (n + kBeyond), in the end.
  uint32_t* up() const { return reinterpret_cast<uint32_t*>(height); }
  double* total() const { return reinterpret_cast<double*>(spare); }
  T* result() const { return reinterpret_cast<T*>(height); }
};

// One bit for each neighbour of each voxel that is above it, for as many voxels as there are lanes; none
// for the background. at: a voxel in the planes before, of and after it.
template <class T>
DAL_INLINE auto above_vector(const T* const (&at)[3], int64_t row) {
  const vec<T> centre = load(at[1]);
  mask<T> above{};
#pragma GCC unroll 27  // as a loop it divides: eight times the instructions
  for (int bit = 0; bit < 27; ++bit) {
    if (bit == 13) continue;
    const vec<T> other = load(at[2 - bit / 9] + (1 - bit / 3 % 3) * row + 1 - bit % 3);
    above |= (bit > 13 ? other >= centre : other > centre) & (decltype(above[0] + 0)(1) << bit);
  }
  above &= centre > T(0);
  typedef uint32_t words __attribute__((vector_size(lanes<T> * 4)));
  return __builtin_convertvector(above, words);
}

// The number of the next voxel, and the nodes that the next maximum and the last saddle take.
struct Next {
  uint32_t number, maximum, saddle;
};

// One volume, and where its links go.
template <class T>
struct Linking {
  using A = arithmetic_t<T>;
  const T* x;
  const uint8_t* mask;
  const Tfce3dProblem& p;
  const Window shape;
  const Offsets offsets;
  const Word* words;
  const Ranks<A>& ranks;
  const uint32_t n;  // positive voxels

  Linking(const T* x, const uint8_t* mask, const Tfce3dProblem& p, const Scratch<A>& s,
          const Ranks<A>& ranks, int64_t n)
      : x(x),
        mask(mask),
        p(p),
        shape(p),
        offsets(p.height * p.width, p.width),
        words(s.words),
        ranks(ranks),
        n(uint32_t(n)) {}

  // Plane z of the volume, with its background as zeros; zeros beyond the volume.
  void fill(int64_t z, A* plane) const {
    for (int64_t y = 0; y < p.height; ++y) {
      A* const row = plane + (y + 1) * shape.row + 1;
      const int64_t offset = (z * p.height + y) * p.width;
      if (z < 0 || z >= p.depth || !positive_in(offset, p.width)) {
        std::fill_n(row, p.width, A(0));
        continue;
      }
      load_row(x + offset, p.width, row);
      if (mask)
        for (int64_t i = 0; i < p.width; ++i)
          row[i] = (row[i] > 0) & (mask[offset + i] != 0) ? row[i] : A(0);
      else
        for (int64_t i = 0; i < p.width; ++i) row[i] = row[i] > 0 ? row[i] : A(0);
    }
  }

  bool positive_in(int64_t first, int64_t count) const {
    return positive_before(words, first) != positive_before(words, first + count);
  }

  // The positive ones among up to 64 voxels, as bits.
  DAL_INLINE uint64_t positive(int64_t first, int64_t count) const {
    const int64_t k = first / kWord, shift = first % kWord;
    uint64_t bits = words[k].bits >> shift;
    if (shift + count > kWord) bits |= words[k + 1].bits << (kWord - shift);
    return count < kWord ? bits & ((uint64_t(1) << count) - 1) : bits;
  }

  // Writes what is known of the next voxel in raster order: its place in the order to be, and where it is
  // linked to.
  DAL_INLINE void write(int64_t voxel, A value, uint32_t chosen, Next& next) const {
    uint32_t item = next.number, up;
    if (!chosen) {
      up = kFlag | next.maximum;
      ranks.tree.nodes[next.maximum].branch = {next.maximum, n, 0};
      ++next.maximum;
    } else {
      up = number_of(words, voxel + offsets.of[__builtin_ctz(chosen)]);
      const uint32_t others = chosen & (chosen - 1);
      if (others) {
        --next.saddle;
        const uint32_t second = number_of(words, voxel + offsets.of[__builtin_ctz(others)]);
        ranks.tree.nodes[next.saddle].saddle = {next.number, uint32_t(voxel), others, second};
        item = kFlag | next.saddle;
      }
    }
    ranks.up()[next.number] = up;
    ranks.items[next.number] = Ranked<A>(value, item);
    ++next.number;
  }

  // The planes around plane z lie in a ring of three; returns how many maxima plane z has.
  template <int connectivity>
  int64_t plane(int64_t z, A* ring) const {
    const int64_t voxels = p.height * p.width;
    const auto number = uint32_t(positive_before(words, z * voxels));
    Next next{number, number, uint32_t(positive_before(words, (z + 1) * voxels))};
    const A* around[3];
    for (int64_t i = 0; i < 3; ++i) around[i] = ring + (z + i) % 3 * shape.plane;
    for (int64_t y = 0; y < p.height; ++y) {
      const int64_t row = z * voxels + y * p.width;
      for (int64_t i = 0; i < p.width; i += lanes<A>) {
        uint64_t left = positive(row + i, std::min<int64_t>(lanes<A>, p.width - i));
        if (!left) continue;
        const int64_t in_plane = (y + 1) * shape.row + 1 + i;
        const A* const at[3] = {around[0] + in_plane, around[1] + in_plane, around[2] + in_plane};
        const auto chosen = representatives<connectivity>(above_vector(at, shape.row));
        uint32_t choice[lanes<A>];
        __builtin_memcpy(choice, &chosen, sizeof(chosen));
        for (; left; left &= left - 1) {
          const int lane = __builtin_ctzll(left);
          write(row + i + lane, at[1][lane], choice[lane], next);
        }
      }
    }
    return next.maximum - number;
  }

  void slab(int64_t begin, int64_t end, A* ring, int64_t* maxima) const {
    std::fill_n(ring, shape.size(), A(0));
    for (int64_t z = begin - 1; z < begin + 1; ++z) fill(z, ring + (z + 1) % 3 * shape.plane);
    for (int64_t z = begin; z < end; ++z) {
      fill(z + 1, ring + (z + 2) % 3 * shape.plane);
      maxima[z] = p.connectivity == 6    ? plane<6>(z, ring)
                  : p.connectivity == 18 ? plane<18>(z, ring)
                                         : plane<26>(z, ring);
    }
  }
};

template <class T>
void link(const Linking<T>& linking, const Scratch<arithmetic_t<T>>& s, int threads) {
  const int64_t depth = linking.p.depth;
  const int64_t planes = std::max<int64_t>(1, std::min(kSlab, depth / (2 * threads)));
  parallel_for(ceil_div(depth, planes), threads, [&](int64_t slab, int slot) {
    linking.slab(slab * planes, std::min(depth, (slab + 1) * planes),
                 s.windows + slot * linking.shape.size(), s.maxima);
  });
}

// Calls f(begin, end) for chunks of [0, n).
template <class F>
void in_chunks(int64_t n, int threads, F&& f) {
  parallel_for(ceil_div(n, kChunk), threads,
               [&](int64_t chunk, int) { f(chunk * kChunk, std::min(n, (chunk + 1) * kChunk)); });
}

// The lowest voxel of every component has no parent: that is rank n.
template <class T>
void end_components(const Tfce3dProblem& p, const Scratch<T>& s, const Tree& tree, int64_t n) {
  for (int64_t z = 0; z < p.depth; ++z) {
    const int64_t first = positive_before(s.words, z * p.height * p.width);
    for (int64_t b = first; b < first + s.maxima[z]; ++b) {
      const Branch branch = tree.nodes[b].branch;
      if (branch.parent == b) tree.parent[branch.last] = uint32_t(n);
    }
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

template <class T>
void integrate(const Tfce3dProblem& p, const Ranks<T>& r, int64_t n, int threads) {
  double* const total = r.total();
  r.height[n] = total[n] = 0;  // the parent of what has none
  with_power(p.height_power + 1, [&](auto power) {
    in_chunks(n, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        r.height[i] = power(double(r.items[i].value())) / (p.height_power + 1);
    });
  });
  with_power(p.extent_power, [&](auto power) {
    in_chunks(n, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const double top = r.height[i], bottom = r.height[r.tree.parent[i]];
        const double term = power(double(r.tree.area[i])) * (top - bottom);
        total[i] = top == bottom ? 0 : term;  // two infinite ones among them
      }
    });
  });
  for (int64_t i = n - 1; i >= 0; --i) total[i] += total[r.tree.parent[i]];
}

// Sums from ranks to numbers.
template <class T>
void order_by_number(const Ranks<T>& r, int64_t n, int threads) {
  T* const result = r.result();
  in_chunks(n, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint32_t item = r.items[i].number;
      result[item & kFlag ? r.tree.nodes[item & ~kFlag].saddle.number : item] = T(r.total()[i]);
    }
  });
}

template <class T>
void enhance(const T* x, const uint8_t* mask, T* out, const Tfce3dProblem& p, uintptr_t at, int threads) {
  using A = arithmetic_t<T>;
  const int64_t voxels = p.depth * p.height * p.width;
  const Offsets offsets(p.height * p.width, p.width);
  const Scratch<A> s(p, at, threads);
  const int64_t n = number_positive(x, mask, voxels, s.words, s.counts, threads);
  Ranks<A> r(s, n);
  prefer_huge_pages(r.items, uintptr_t(r.tree.nodes) - s.end, threads);
  link(Linking<T>(x, mask, p, s, r, n), s, threads);
  sort_descending(r.items, r.spare, n, s.counters, threads);
  join(r.items, n, r.up(), s.words, offsets, r.tree);
  end_components(p, s, r.tree, n);
  integrate(p, r, n, threads);
  order_by_number(r, n, threads);
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
