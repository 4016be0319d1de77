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

// What one volume takes of the workspace, in the order of its use.
template <class T>
struct Scratch {
  T* value;  // padded
  uint32_t *links, *label;  // padded
  Ranked<T>*ranked, *other;  // by rank
  uint32_t *parent, *area;  // by rank
  double *height, *total;  // by rank
  Branch* branch;
  int64_t* count;  // positive voxels before each plane
  int64_t* histogram;  // of the sort
  double* power;  // of the smallest areas
  uintptr_t end;

  Scratch(const Tfce3dProblem& p, uintptr_t at, int threads) {
    const Padded shape(p);
    const int64_t voxels = p.depth * p.height * p.width;
    const auto take = [&at](auto*& pointer, int64_t n) {
      pointer = reinterpret_cast<typename std::remove_reference<decltype(pointer)>::type>(at);
      at += uintptr_t((n * int64_t(sizeof(*pointer)) + kAlign - 1) / kAlign * kAlign);
    };
    take(value, shape.size());
    take(links, shape.size());
    take(label, shape.size());
    take(ranked, voxels);
    take(other, voxels);
    take(parent, voxels);
    take(area, voxels);
    take(height, voxels + 1);
    take(total, voxels + 1);
    take(branch, voxels);
    take(count, p.depth + 1);
    take(histogram, int64_t(threads) * kDigits);
    take(power, kTable);
    end = at;
  }
};

template <class T>
void pad_plane(const void* x, const uint8_t* mask, const Padded& shape, int64_t z,
               Scratch<arithmetic_t<T>>& s) {
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

// Words of the neighbourhoods of as many voxels as there are lanes.
template <int connectivity, class T>
DAL_INLINE void link_vector(const T* at, const Padded& shape, uint32_t* links) {
  const vec<T> centre = load(at);
  mask<T> above{};
  for (int bit = 0; bit < 27; ++bit) {
    if (bit == 13) continue;
    const vec<T> other =
        load(at + (bit / 9 - 1) * shape.plane + (bit / 3 % 3 - 1) * shape.stride + bit % 3 - 1);
    above |= (bit < 13 ? other >= centre : other > centre) & (decltype(above[0] + 0)(1) << bit);
  }
  above &= centre > T(0);
  typedef uint32_t words __attribute__((vector_size(lanes<T> * 4)));
  const words chosen = representatives<connectivity>(__builtin_convertvector(above, words));
  __builtin_memcpy(links, &chosen, sizeof(chosen));
}

template <int connectivity, class T>
void link_plane(const Padded& shape, int64_t z, Scratch<T>& s) {
  Ranked<T>* out = s.ranked + s.count[z];
  for (int64_t y = 0; y < shape.height; ++y) {
    const int64_t row = shape.row(z, y);
    for (int64_t i = 0; i < shape.width; i += lanes<T>) {
      const vec<T> v = load(s.value + row + i);
      if (!any(v > T(0))) continue;
      link_vector<connectivity>(s.value + row + i, shape, s.links + row + i);
      for (int64_t lane = 0; lane < std::min<int64_t>(lanes<T>, shape.width - i); ++lane)
        if (v[lane] > 0) *out++ = Ranked<T>(v[lane], uint32_t(row + i + lane));
    }
  }
}

template <class T>
void link(const Tfce3dProblem& p, const Padded& shape, Scratch<T>& s, int threads) {
  parallel_for(shape.depth, threads, [&](int64_t z, int) {
    if (p.connectivity == 6) link_plane<6>(shape, z, s);
    if (p.connectivity == 18) link_plane<18>(shape, z, s);
    if (p.connectivity == 26) link_plane<26>(shape, z, s);
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
void integrate(const Tfce3dProblem& p, Scratch<T>& s, int64_t n, int threads) {
  const double e = p.extent_power, h = p.height_power + 1;
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  const int64_t largest = std::min<int64_t>(kTable, n + 1);
  for (int64_t i = 1; i < largest; ++i) s.power[i] = power_of(double(i), e);
  s.height[n] = s.total[n] = 0;  // the parent of what has none
  parallel_for(chunks, threads, [&](int64_t chunk, int) {
    for (int64_t i = chunk * kChunk; i < std::min(n, (chunk + 1) * kChunk); ++i)
      s.height[i] = power_of(double(s.ranked[i].value()), h) / h;
  });
  parallel_for(chunks, threads, [&](int64_t chunk, int) {
    for (int64_t i = chunk * kChunk; i < std::min(n, (chunk + 1) * kChunk); ++i) {
      const double top = s.height[i], bottom = s.height[s.parent[i]];
      const double extent = s.area[i] < kTable ? s.power[s.area[i]] : power_of(double(s.area[i]), e);
      s.total[i] = top == bottom ? 0 : extent * (top - bottom);  // two infinite ones among them
    }
  });
  for (int64_t i = n - 1; i >= 0; --i) s.total[i] += s.total[s.parent[i]];
}

template <class T>
void write(const Padded& shape, const Scratch<arithmetic_t<T>>& s, int64_t n, T* out, int threads) {
  const int64_t voxels = shape.depth * shape.height * shape.width;
  parallel_for(shape.depth, threads, [&](int64_t z, int) {
    std::fill_n(reinterpret_cast<uint8_t*>(out + z * shape.height * shape.width),
                size_t(voxels / shape.depth) * sizeof(T), uint8_t(0));
  });
  parallel_for((n + kChunk - 1) / kChunk, threads, [&](int64_t chunk, int) {
    for (int64_t i = chunk * kChunk; i < std::min(n, (chunk + 1) * kChunk); ++i) {
      const int64_t at = s.ranked[i].position, z = at / shape.plane, y = at % shape.plane / shape.stride;
      const int64_t x = at % shape.stride;
      from_arithmetic(arithmetic_t<T>(s.total[i]),
                      out + ((z - 1) * shape.height + y - 1) * shape.width + x - 1);
    }
  });
}

template <class T>
void enhance(const T* x, const uint8_t* mask, T* out, const Tfce3dProblem& p, uintptr_t at, int threads) {
  const Padded shape(p);
  Scratch<arithmetic_t<T>> s(p, at, threads);
  s.count[0] = 0;
  parallel_for(shape.depth, threads, [&](int64_t z, int) { pad_plane<T>(x, mask, shape, z, s); });
  std::fill_n(s.value, shape.plane, 0);
  std::fill_n(s.value + (shape.depth + 1) * shape.plane, shape.size() - (shape.depth + 1) * shape.plane, 0);
  for (int64_t z = 0; z < shape.depth; ++z) s.count[z + 1] += s.count[z];
  const int64_t n = s.count[shape.depth];
  link(p, shape, s, threads);
  sort_descending(s.ranked, s.other, n, s.histogram, threads);
  join(s.ranked, n, s.links, shape.stride, shape.plane, s.label, s.branch, s.parent, s.area);
  integrate(p, s, n, threads);
  write<T>(shape, s, n, out, threads);
}

template <class T>
int64_t bytes_per_volume(const Tfce3dProblem& p, int threads) {
  return int64_t(Scratch<arithmetic_t<T>>(p, 0, threads).end);
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
