// The forest of forest.h gives every run its root; here roots become labels, or sizes, and volumes are
// written. Volumes go side by side when there are enough of them, else the planes of one.
#include "components3d/components3d.h"
#include "components3d/forest.h"
#include "pages.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kSerialVoxels = int64_t(1) << 17;  // a volume that is not worth waking a thread for

// Numbers the components that begin in plane p, in raster order of their first voxels. Roots are
// numbered by node row, which is another order when a node row has several rows of voxels.
void number_plane(const Forest& f, int64_t p) {
  uint32_t label = f.components_before[p];
  const uint32_t last = f.components_before[p + 1], first_node = f.first_node[p];
  for (int64_t z = p * f.group; z < std::min((p + 1) * f.group, f.depth); ++z)
    for (int64_t y = 0; y < f.height && label < last; ++y) {
      const NodeRow nodes = f.nodes(p, y / f.group);
      for_each_run(f.row(z, y), f.words, [&](int64_t begin, int64_t) {
        const uint32_t root = f.parent[nodes.at(begin)];
        if (root >= first_node && !f.value[root]) f.value[root] = ++label;
      });
    }
}

// row[begin, begin + length) = value. What lies behind it, in the row, must be 0 still.
DAL_INLINE void fill(int32_t* row, int64_t begin, int64_t length, int64_t width, int32_t value) {
  const int64_t end = begin + length;
  if (end + lanes<int32_t> > width) {
    std::fill(row + begin, row + end, value);
    return;
  }
  const vec<int32_t> v = broadcast<int32_t>(value);
  for (int64_t x = begin; x < end; x += lanes<int32_t>) store<int32_t>(row + x, v);
  store<int32_t>(row + end, vec<int32_t>{});
}

// Gives every node of plane p the value of its root. No thread writes to a root meanwhile.
void spread_values(const Forest& f, int64_t p) {
  for (uint32_t i = f.first_node[p]; i < f.first_node[p + 1]; ++i)
    if (f.parent[i] != i) f.value[i] = f.value[f.parent[i]];
}

void write_labels(const Forest& f, int32_t* labels, int64_t p) {
  spread_values(f, p);
  for (int64_t z = p * f.group; z < std::min((p + 1) * f.group, f.depth); ++z)
    for (int64_t y = 0; y < f.height; ++y) {
      const NodeRow nodes = f.nodes(p, y / f.group);
      const uint32_t* const label = f.value;
      const int64_t width = f.width;
      int32_t* const out = labels + (z * f.height + y) * width;
      std::fill(out, out + width, 0);
      for_each_run(f.row(z, y), f.words, [&](int64_t begin, int64_t length) {
        fill(out, begin, length, width, int32_t(label[nodes.at(begin)]));
      });
    }
}

// value[node] = its voxels
void measure_plane(const Forest& f, int64_t p) {
  for (int64_t z = p * f.group; z < std::min((p + 1) * f.group, f.depth); ++z)
    for (int64_t y = 0; y < f.height; ++y) {
      const NodeRow nodes = f.nodes(p, y / f.group);
      for_each_run(f.row(z, y), f.words,
                   [&](int64_t begin, int64_t length) { f.value[nodes.at(begin)] += uint32_t(length); });
    }
}

// value[root] = voxels of the component
void gather_sizes(const Forest& f) {
  for (uint32_t i = 0; i < f.first_node[f.planes]; ++i)
    if (f.parent[i] != i) f.value[f.parent[i]] += f.value[i];
}

void write_large(const Forest& f, uint8_t* kept, int64_t min_voxels, int64_t p) {
  spread_values(f, p);
  for (int64_t z = p * f.group; z < std::min((p + 1) * f.group, f.depth); ++z)
    for (int64_t y = 0; y < f.height; ++y) {
      const NodeRow nodes = f.nodes(p, y / f.group);
      uint8_t* const out = kept + (z * f.height + y) * f.width;
      std::fill(out, out + f.width, uint8_t(0));
      for_each_run(f.row(z, y), f.words, [&](int64_t begin, int64_t length) {
        if (f.value[nodes.at(begin)] >= min_voxels)
          std::fill(out + begin, out + begin + length, uint8_t(1));
      });
    }
}

int64_t bytes_per_volume(const Components3dShape& s) {
  const auto bytes = int64_t(Forest(s.depth, s.height, s.width, s.connectivity, 0).end);
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

// f(forest, volume, threads) for every volume, its forest grown.
template <class F>
void for_each_volume(const uint8_t* mask, void* workspace, const Components3dShape& s, int threads, F&& f) {
  const auto start = (reinterpret_cast<uintptr_t>(workspace) + kAlign - 1) / kAlign * kAlign;
  const int64_t voxels = s.depth * s.height * s.width, bytes = bytes_per_volume(s);
  const auto one = [&](int64_t volume, int slot, int inner_threads) {
    Forest forest(s.depth, s.height, s.width, s.connectivity, start + uintptr_t(slot * bytes));
    forest.grow(mask + volume * voxels, inner_threads);
    f(forest, volume * voxels, inner_threads);
  };
  if (s.volumes >= threads) {
    parallel_for(s.volumes, threads, [&](int64_t volume, int slot) { one(volume, slot, 1); });
  } else {
    for (int64_t volume = 0; volume < s.volumes; ++volume)
      one(volume, 0, voxels < kSerialVoxels ? 1 : threads);
  }
}

}  // namespace

int64_t components3d_workspace(Components3dShape shape, int threads) {
  const int64_t at_once = shape.volumes >= threads ? threads : 1;
  return at_once * bytes_per_volume(shape) + kAlign;
}

void components3d(const uint8_t* mask, int32_t* labels, void* workspace, Components3dShape shape,
                  int threads) {
  prefer_huge_pages(labels, 4 * size_t(shape.volumes * shape.depth * shape.height * shape.width), threads);
  for_each_volume(mask, workspace, shape, threads, [&](Forest& f, int64_t offset, int inner_threads) {
    f.for_each_plane(inner_threads, [&](int64_t p) { number_plane(f, p); });
    f.for_each_plane(inner_threads, [&](int64_t p) { write_labels(f, labels + offset, p); });
  });
}

void remove_small(const uint8_t* mask, uint8_t* out, void* workspace, Components3dShape shape,
                  int64_t min_voxels, int threads) {
  for_each_volume(mask, workspace, shape, threads, [&](Forest& f, int64_t offset, int inner_threads) {
    f.for_each_plane(inner_threads, [&](int64_t p) { measure_plane(f, p); });
    gather_sizes(f);
    f.for_each_plane(inner_threads, [&](int64_t p) { write_large(f, out + offset, min_voxels, p); });
  });
}

}  // namespace DAL_ISA
}  // namespace dal
