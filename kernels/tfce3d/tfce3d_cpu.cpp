// One volume at a time: pad, link, sort, join, integrate. All but joining is shared among the threads.
//
//   pad        values into a volume with a border of zeros; background becomes zero
//   link       links.h: which neighbours tell the components that a voxel joins
//   sort       positions of positive voxels by falling value (a stable radix sort)
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
#include "tfce3d/sorting.h"
#include "tfce3d/tfce3d.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kChunk = 1 << 15;  // ranks that a thread integrates at a time
constexpr uint32_t kTable = 1 << 16;  // areas whose powers are tabulated

// A volume with a border of one voxel; rows hold whole vectors behind their border.
struct Padded {
  int64_t depth, height, width, stride, plane;

  explicit Padded(const Tfce3dProblem& p) : depth(p.depth), height(p.height), width(p.width) {
    stride = tfce3d_padded(width);
    plane = (height + 2) * stride;
  }
  int64_t size() const { return (depth + 2) * plane + 64; }
  int64_t row(int64_t z, int64_t y) const { return (z + 1) * plane + (y + 1) * stride + 1; }
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

// What one volume takes of the workspace, but for what is by rank.
template <class T>
struct Scratch {
  uint32_t* nodes;  // padded: links, then branches
  T* value;  // padded
  int64_t* count;  // positive voxels before each plane
  int64_t* histogram;  // of the sort
  double* power;  // of the smallest areas
  uintptr_t end;

  Scratch(const Tfce3dProblem& p, uintptr_t start, int threads) {
    const int64_t padded = Padded(p).size();
    Arena arena{start};
    nodes = arena.take<uint32_t>(padded);
    value = arena.take<T>(padded);
    count = arena.take<int64_t>(p.depth + 1);
    histogram = arena.take<int64_t>(int64_t(threads) * kDigits);
    power = arena.take<double>(kTable);
    end = arena.at;
  }
};

// By rank, for n positive voxels: behind the rest, so that few voxels touch few pages.
template <class T>
struct Ranks {
  Ranked<T>*items, *spare;
  uint32_t *parent, *area;
  Branch* branch;
  double* height;  // n + 1, where nodes and values were, which nothing needs after joining
  uintptr_t end;

  Ranks(const Scratch<T>& s, int64_t n) {
    Arena arena{s.end};
    items = arena.take<Ranked<T>>(n + 1);
    spare = arena.take<Ranked<T>>(n + 1);
    parent = arena.take<uint32_t>(n);
    area = arena.take<uint32_t>(n);
    branch = arena.take<Branch>(n);
    height = reinterpret_cast<double*>(s.nodes);
    end = arena.at;
  }
  double* total() const { return reinterpret_cast<double*>(spare); }  // n + 1, once sorting is done
};

template <class T>
void pad_plane(const void* x, const uint8_t* mask, const Padded& shape, int64_t z,
               const Scratch<arithmetic_t<T>>& s) {
  using A = arithmetic_t<T>;
  int64_t positive = 0;
  std::fill_n(s.value + (z + 1) * shape.plane, shape.plane, A(0));
  for (int64_t y = 0; y < shape.height; ++y) {
    A* const row = s.value + shape.row(z, y);
    const int64_t offset = (z * shape.height + y) * shape.width;
    load_row(static_cast<const T*>(x) + offset, shape.width, row);
    for (int64_t i = 0; i < shape.width; ++i) {
      const bool inside = row[i] > 0 && (!mask || mask[offset + i]);
      row[i] = inside ? row[i] : A(0);
      positive += inside;
    }
  }
  s.count[z + 1] = positive;
}

// One bit for each neighbour of each voxel that is above it, for as many voxels as there are lanes; none
// for the background.
template <class T>
DAL_INLINE auto above_vector(const T* at, const Padded& shape) {
  const vec<T> centre = load(at);
  mask<T> above{};
#pragma GCC unroll 27  // as a loop it divides: eight times the instructions
  for (int bit = 0; bit < 27; ++bit) {
    if (bit == 13) continue;
    const vec<T> other =
        load(at + (bit / 9 - 1) * shape.plane + (bit / 3 % 3 - 1) * shape.stride + bit % 3 - 1);
    above |= (bit < 13 ? other >= centre : other > centre) & (decltype(above[0] + 0)(1) << bit);
  }
  above &= centre > T(0);
  typedef uint32_t words __attribute__((vector_size(lanes<T> * 4)));
  return __builtin_convertvector(above, words);
}

// The positive ones of n values, in their order; returns where the next one goes. But for the last ones
// before `end`, all are written and the next one's place only moves on behind a positive one: which are is
// a surprise.
template <class T>
DAL_INLINE Ranked<T>* append_positive(const T* value, int64_t position, int64_t n, Ranked<T>* out,
                                      const Ranked<T>* end) {
  if (end - out >= n) {
    for (int64_t i = 0; i < n; ++i) {
      *out = Ranked<T>(value[i], uint32_t(position + i));
      out += value[i] > 0;
    }
  } else {
    for (int64_t i = 0; i < n; ++i)
      if (value[i] > 0) *out++ = Ranked<T>(value[i], uint32_t(position + i));
  }
  return out;
}

template <int connectivity, class T>
void link_plane(const Padded& shape, int64_t z, const Scratch<T>& s, Ranked<T>* items) {
  Ranked<T>* out = items + s.count[z];
  const Ranked<T>* const end = items + s.count[z + 1];
  for (int64_t y = 0; y < shape.height; ++y) {
    const int64_t row = shape.row(z, y);
    for (int64_t i = 0; i < shape.width; i += lanes<T>) {
      const T* const at = s.value + row + i;
      if (!any(load(at) > T(0))) continue;
      const auto chosen = representatives<connectivity>(above_vector(at, shape));
      __builtin_memcpy(s.nodes + row + i, &chosen, sizeof(chosen));
      out = append_positive(at, row + i, std::min<int64_t>(lanes<T>, shape.width - i), out, end);
    }
  }
}

template <class T>
void link(const Tfce3dProblem& p, const Padded& shape, const Scratch<T>& s, Ranked<T>* items, int threads) {
  parallel_for(shape.depth, threads, [&](int64_t z, int) {
    if (p.connectivity == 6) link_plane<6>(shape, z, s, items);
    if (p.connectivity == 18) link_plane<18>(shape, z, s, items);
    if (p.connectivity == 26) link_plane<26>(shape, z, s, items);
  });
}

// x^e for x > 0; the usual exponents without a call of pow.
double power_of(double x, double e) {
  if (e == 0) return 1;
  if (e == 0.25) return std::sqrt(std::sqrt(x));
  if (e == 0.5) return std::sqrt(x);
  if (e == 0.75) return std::sqrt(x) * std::sqrt(std::sqrt(x));
  if (e == 1) return x;
  if (e == 1.5) return x * std::sqrt(x);
  if (e == 2) return x * x;
  if (e == 3) return x * x * x;
  return std::pow(x, e);
}

template <class T>
void integrate(const Tfce3dProblem& p, double* power, const Ranks<T>& r, int64_t n, int threads) {
  const double e = p.extent_power, h = p.height_power + 1;
  double* const total = r.total();
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  const int64_t largest = std::min<int64_t>(kTable, n + 1);
  for (int64_t i = 1; i < largest; ++i) power[i] = power_of(double(i), e);
  r.height[n] = total[n] = 0;  // the parent of what has none
  parallel_for(chunks, threads, [&](int64_t chunk, int) {
    for (int64_t i = chunk * kChunk; i < std::min(n, (chunk + 1) * kChunk); ++i)
      r.height[i] = power_of(double(r.items[i].value()), h) / h;
  });
  parallel_for(chunks, threads, [&](int64_t chunk, int) {
    for (int64_t i = chunk * kChunk; i < std::min(n, (chunk + 1) * kChunk); ++i) {
      const double top = r.height[i], bottom = r.height[r.parent[i]];
      const double extent = r.area[i] < kTable ? power[r.area[i]] : power_of(double(r.area[i]), e);
      total[i] = top == bottom ? 0 : extent * (top - bottom);  // two infinite ones among them
    }
  });
  for (int64_t i = n - 1; i >= 0; --i) total[i] += total[r.parent[i]];
}

template <class T>
void write(const Padded& shape, const Ranks<arithmetic_t<T>>& r, int64_t n, T* out, int threads) {
  const int64_t plane = shape.height * shape.width;
  parallel_for(shape.depth, threads, [&](int64_t z, int) {
    std::fill_n(reinterpret_cast<uint8_t*>(out + z * plane), size_t(plane) * sizeof(T), uint8_t(0));
  });
  const auto padded_plane = uint32_t(shape.plane), stride = uint32_t(shape.stride);
  parallel_for((n + kChunk - 1) / kChunk, threads, [&](int64_t chunk, int) {
    for (int64_t i = chunk * kChunk; i < std::min(n, (chunk + 1) * kChunk); ++i) {
      const uint32_t at = r.items[i].position, z = at / padded_plane, y = at % padded_plane / stride;
      from_arithmetic(arithmetic_t<T>(r.total()[i]),
                      out + ((z - 1) * shape.height + y - 1) * shape.width + at % stride - 1);
    }
  });
}

template <class T>
void enhance(const T* x, const uint8_t* mask, T* out, const Tfce3dProblem& p, uintptr_t at, int threads) {
  using A = arithmetic_t<T>;
  const Padded shape(p);
  const Scratch<A> s(p, at, threads);
  prefer_huge_pages(s.nodes, s.end - at, threads);
  s.count[0] = 0;
  parallel_for(shape.depth, threads, [&](int64_t z, int) { pad_plane<T>(x, mask, shape, z, s); });
  std::fill_n(s.value, shape.plane, A(0));
  std::fill_n(s.value + (shape.depth + 1) * shape.plane, shape.size() - (shape.depth + 1) * shape.plane,
              A(0));
  for (int64_t z = 0; z < shape.depth; ++z) s.count[z + 1] += s.count[z];
  const int64_t n = s.count[shape.depth];
  Ranks<A> r(s, n);
  prefer_huge_pages(r.items, uintptr_t(r.branch) - s.end, threads);
  link(p, shape, s, r.items, threads);
  sort_descending(r.items, r.spare, n, s.histogram, threads);
  join(r.items, n, s.nodes, shape.stride, shape.plane, r.branch, r.parent, r.area);
  integrate(p, s.power, r, n, threads);
  write<T>(shape, r, n, out, threads);
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
