// Where the voxels of the smoothed images come from, how a field is weighted by the mask, and how a
// volume is cut into blocks that march along z.
#pragma once
#include "gpu.h"

namespace dal {
namespace cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kMostLevels = 256;

struct Volume {
  int depth, height, width;
  __host__ __device__ int64_t voxels() const { return int64_t(depth) * height * width; }
};

// values: (batch, channels, voxels); the image of entry i is channel i, or, with classes, the level of
// the highest of `classes` logits. mask: (batch, voxels) or null.
template <class T>
struct Images {
  const T* values;
  const uint8_t* mask;
  int64_t per_batch;  // images a batch entry
  int64_t first;  // image that this launch starts with
  int classes;  // 0: the values are the image
  float levels[kMostLevels];
};

// One image and its mask.
template <class T>
struct Image {
  const Images<T>& images;
  const T* values;
  const uint8_t* mask;
  int64_t voxels;

  __device__ Image(const Images<T>& all, int64_t i, int64_t n) : images(all), voxels(n) {
    const int64_t image = all.first + i, entry = image / all.per_batch;
    values = all.values + (all.classes ? entry * all.classes : image) * n;
    mask = all.mask ? all.mask + entry * n : nullptr;
  }

  // The image at voxels first + at[j], 0 where at[j] < 0. Ties go to the lowest class; a NaN never wins
  // against an earlier one. Class by class, so that N loads are under way at once. Voxels are numbered in
  // 32 bits, which a volume does not exceed: an address is one instruction then.
  template <int N>
  __device__ void read(uint32_t first, const int (&at)[N], float (&out)[N]) const {
    const T* row = values;
#pragma unroll
    for (int j = 0; j < N; ++j) out[j] = at[j] >= 0 ? to_float(row[first + uint32_t(at[j])]) : 0.f;
    if (!images.classes) return;
    float top[N];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      top[j] = out[j];
      out[j] = at[j] >= 0 ? images.levels[0] : 0.f;
    }
    for (int k = 1; k < images.classes; ++k) {
      row += voxels;
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float logit = at[j] >= 0 ? to_float(row[first + uint32_t(at[j])]) : top[j];
        out[j] = logit > top[j] ? images.levels[k] : out[j];
        top[j] = logit > top[j] ? logit : top[j];
      }
    }
  }
};

// m A and m, blurred alike. Without a mask the field is the image, a float.
struct Weighted {
  float value, weight;
};
__device__ __forceinline__ Weighted operator+(Weighted a, Weighted b) {
  return {a.value + b.value, a.weight + b.weight};
}
__device__ __forceinline__ Weighted operator*(float tap, Weighted a) {
  return {tap * a.value, tap * a.weight};
}
// sum + tap a, rounded once.
__device__ __forceinline__ float add(float sum, float tap, float a) { return fmaf(tap, a, sum); }
__device__ __forceinline__ Weighted add(Weighted sum, float tap, Weighted a) {
  return {fmaf(tap, a.value, sum.value), fmaf(tap, a.weight, sum.weight)};
}

// The fields of N voxels as they are loaded; no load waits for another, and nothing waits for a load until
// a field is asked for. Values outside the mask are read and dropped.
template <class F, int N>
struct Fetched;

template <int N>
struct Fetched<float, N> {
  float value[N];

  // Voxels first + at[j]; 0 where at[j] < 0.
  template <class T>
  __device__ __forceinline__ void take(const Image<T>& image, uint32_t first, const int (&at)[N]) {
    image.read(first, at, value);
  }
  __device__ void clear() {
#pragma unroll
    for (int j = 0; j < N; ++j) value[j] = 0.f;
  }
  __device__ float operator[](int j) const { return value[j]; }
};

template <int N>
struct Fetched<Weighted, N> {
  float value[N];
  uint32_t inside[N];

  template <class T>
  __device__ __forceinline__ void take(const Image<T>& image, uint32_t first, const int (&at)[N]) {
#pragma unroll
    for (int j = 0; j < N; ++j) inside[j] = at[j] >= 0 ? image.mask[first + uint32_t(at[j])] : 0;
    image.read(first, at, value);
  }
  __device__ void clear() {
#pragma unroll
    for (int j = 0; j < N; ++j) inside[j] = 0;
  }
  __device__ Weighted operator[](int j) const {
    return inside[j] ? Weighted{value[j], 1.f} : Weighted{0.f, 0.f};
  }
};

// False if this voxel adds nothing to any sum.
__device__ __forceinline__ bool counts(float v) { return !(v == 0.f); }
__device__ __forceinline__ bool counts(Weighted v) { return v.weight != 0.f; }

// A value that is not finite becomes a NaN, so that no edge can be where one has spread to.
__device__ __forceinline__ float poison(float v) { return v + (v - v); }

// s of the summed field: scale is 1 / (sum of the taps inside the volume), which a mask does not need.
__device__ __forceinline__ float normalise(float sum, float scale) { return poison(sum * scale); }
__device__ __forceinline__ float normalise(Weighted sum, float) {
  return poison(sum.weight > 0.f ? sum.value / sum.weight : 0.f);
}

// Blocks of 32 x `rows` columns that march over `planes` planes.
struct March {
  int tiles_x, tiles_y, chunks, rows, planes;

  // Chunks for the shortest way through, where `resident` blocks run at a time and a block marches over
  // `margin` planes more than it is asked for.
  March(Volume n, int tile_rows, int64_t images, int64_t resident, int margin)
      : tiles_x(int(ceil_div(n.width, kWarp))),
        tiles_y(int(ceil_div(n.height, tile_rows))),
        chunks(1),
        rows(tile_rows),
        planes(n.depth) {
    constexpr int kMostChunks = 64;
    const int64_t columns = int64_t(tiles_x) * tiles_y * images;
    int64_t shortest = ceil_div(columns, resident) * (n.depth + margin);
    for (int count = 2; count <= kMostChunks && count <= n.depth; ++count) {
      const int each = int(ceil_div(n.depth, count));
      const int64_t way = ceil_div(columns * ceil_div(n.depth, each), resident) * (each + margin);
      if (way >= shortest) continue;
      shortest = way;
      planes = each;
      chunks = int(ceil_div(n.depth, each));
    }
  }
  int64_t blocks(int64_t images) const { return images * chunks * tiles_y * tiles_x; }
};

// The columns and planes [z0, z1) of a block.
struct Tile {
  int x0, y0, z0, z1, image;

  __device__ Tile(const March& m, Volume n) {
    const unsigned tile = blockIdx.x / unsigned(m.tiles_x), chunk = tile / unsigned(m.tiles_y);
    x0 = int(blockIdx.x % unsigned(m.tiles_x)) * kWarp;
    y0 = int(tile % unsigned(m.tiles_y)) * m.rows;
    z0 = int(chunk % unsigned(m.chunks)) * m.planes;
    z1 = min(z0 + m.planes, n.depth);
    image = int(chunk / unsigned(m.chunks));
  }
};

}  // namespace
}  // namespace cuda
}  // namespace dal
