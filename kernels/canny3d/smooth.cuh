// s = (g * (m A)) / (g * m): all three axes in one kernel, for Gaussians of at most eight voxels' radius.
//
// A block smooths 32 x 16 columns and marches along z. R is the radius, 4, or 8 for any other.
//
//   plane of A          y blur, 4 a thread     x blur, 2 a thread          z blur, 2 a thread
//   32+2R x 16+2R   ->  32+2R x 16         ->  32 x 16, in registers   ->  2R sums under way for each,
//   shared, two         shared, two                                        in registers
//
// With a mask there are two fields, m A and m, blurred one after the other: both at once would need more
// registers than three blocks a multiprocessor have.
// While a plane is blurred the next one is on its way from memory; two buffers of each make do with one
// barrier a plane. Planes of nothing but zeros (background, outside the mask) are not blurred.
// Sums in z are added up plane by plane, so that the thread moves and filters them at once.
#pragma once
#include "canny3d/images.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kUsualRadius = 4, kSmallRadius = 8;  // sigma = 1, sigma up to 2
constexpr int kSmoothRows = 16, kStrip = 4;  // rows of a tile; rows that a thread blurs in y
constexpr int kSmoothThreads = kSmoothRows * kWarp / 2;

// By value with the launch. scale[a][b] = 1 / sum_{-a <= k <= b} g(k): a and b voxels lie on either side.
struct SmallTaps {
  int radius;
  float tap[kSmallRadius + 1];
  float scale[kSmallRadius + 1][kSmallRadius + 1];

  __device__ float scale_at(int i, int n) const { return scale[min(i, radius)][min(n - 1 - i, radius)]; }
};

template <int R>
__device__ __forceinline__ bool reaches(const SmallTaps& taps, int distance) {
  return R == kUsualRadius || distance <= taps.radius;
}

// taps[0] line[R] + sum_k taps[k] (line[R - k] + line[R + k]).
template <int R>
__device__ __forceinline__ float blur(const SmallTaps& taps, const float* line) {
  float sum = taps.tap[0] * line[R];
#pragma unroll
  for (int k = 1; k <= R; ++k)
    if (reaches<R>(taps, k)) sum = add(sum, taps.tap[k], line[R - k] + line[R + k]);
  return sum;
}

// Along z, transposed: sum[k] is what plane z - R + k has got so far. Takes the values of plane z and gives
// back the finished ones of plane z - R: moves and filters in one multiply-add.
template <int R>
__device__ __forceinline__ float blur_z(const SmallTaps& taps, float v, float (&sum)[2 * R]) {
  const float finished = reaches<R>(taps, R) ? add(sum[0], taps.tap[R], v) : sum[0];
#pragma unroll
  for (int k = 0; k < 2 * R - 1; ++k) {
    const int distance = k < R ? R - 1 - k : k + 1 - R;
    sum[k] = reaches<R>(taps, distance) ? add(sum[k + 1], taps.tap[distance], v) : sum[k + 1];
  }
  sum[2 * R - 1] = reaches<R>(taps, R) ? taps.tap[R] * v : 0.f;
  return finished;
}

// Two neighbours in x.
struct alignas(2 * sizeof(float)) Two {
  float left, right;
};

// Floats of a field F, each in a plane of its own; planes lie `step` apart.
template <class F>
constexpr int kFields = int(sizeof(F) / sizeof(float));
__device__ __forceinline__ void store_fields(float* at, int, float field) { *at = field; }
__device__ __forceinline__ void store_fields(float* at, int step, Weighted field) {
  at[0] = field.value;
  at[step] = field.weight;
}

// Planes of (32 + 2R) x (16 + 2R) voxels of field F around a tile; zeros beyond the volume.
template <class T, class F, int R>
struct PlaneLoader {
  static constexpr int kWide = kWarp + 2 * R, kSize = kWide * (kSmoothRows + 2 * R);
  static constexpr int kLoads = (kSize + kSmoothThreads - 1) / kSmoothThreads;

  const Image<T>& image;
  const Volume n;
  int at[kLoads];  // voxel in its plane, -1 beyond the volume
  Fetched<F, kLoads> next;

  __device__ PlaneLoader(const Image<T>& source, Volume volume, const Tile& tile)
      : image(source), n(volume) {
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      const int i = int(threadIdx.x) + j * kSmoothThreads;
      const int y = tile.y0 - R + i / kWide, x = tile.x0 - R + i % kWide;
      const bool inside = i < kSize && y >= 0 && y < n.height && x >= 0 && x < n.width;
      at[j] = inside ? y * n.width + x : -1;
    }
  }
  __device__ void fetch(int z) {
    if (z >= 0 && z < n.depth)
      next.take(image, uint32_t(z) * uint32_t(n.height) * uint32_t(n.width), at);
    else
      next.clear();
  }
  // True if this thread's voxels count for anything.
  __device__ bool store(float* plane) const {
    bool any = false;
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      const int i = int(threadIdx.x) + j * kSmoothThreads;
      const F field = next[j];
      if (i < kSize) store_fields(plane + i, kSize, field);
      any |= counts(field);
    }
    return any;
  }
};

// plane, blurred: of each field one after the other.
template <class F, int R>
__device__ __forceinline__ void blur_y(const SmallTaps& taps, const float* plane, float* blurred) {
  constexpr int kWide = kWarp + 2 * R;
  static_assert(kWide * (kSmoothRows / kStrip) <= kSmoothThreads, "a strip a thread");
  const int strip = int(threadIdx.x) / kWide, first = strip * kStrip * kWide + int(threadIdx.x) % kWide;
  if (strip >= kSmoothRows / kStrip) return;
  plane += first;
  blurred += first;
#pragma unroll 1
  for (int f = 0; f < kFields<F>; ++f) {
    float line[kStrip + 2 * R];
#pragma unroll
    for (int i = 0; i < kStrip + 2 * R; ++i) line[i] = plane[i * kWide];
#pragma unroll
    for (int i = 0; i < kStrip; ++i) blurred[i * kWide] = blur<R>(taps, line + i);
    plane += (kSmoothRows + 2 * R) * kWide;
    blurred += kSmoothRows * kWide;
  }
}

// row: of blurred values, from R voxels before the first of the two.
template <int R>
__device__ __forceinline__ Two blur_x(const SmallTaps& taps, const float* row) {
  float line[2 * R + 2];
#pragma unroll
  for (int i = 0; i <= R; ++i) {
    const Two two = reinterpret_cast<const Two*>(row)[i];
    line[2 * i] = two.left;
    line[2 * i + 1] = two.right;
  }
  return {blur<R>(taps, line), blur<R>(taps, line + 1)};
}

// s of the sums of the fields.
__device__ __forceinline__ Two normalise(const Two (&sum)[1], float left, float right) {
  return {normalise(sum[0].left, left), normalise(sum[0].right, right)};
}
__device__ __forceinline__ Two normalise(const Two (&sum)[2], float, float) {
  return {normalise(Weighted{sum[0].left, sum[1].left}, 0.f),
          normalise(Weighted{sum[0].right, sum[1].right}, 0.f)};
}

// Blocks a multiprocessor that the registers allow.
template <class F, int R>
constexpr int kResident = (R == kUsualRadius ? 5 : 3) - kFields<F>;

template <class T, class F, int R>
__global__ void __launch_bounds__(kSmoothThreads, (kResident<F, R>))
    smooth_volume(const Images<T> images, Volume n, March march, SmallTaps taps, float* smoothed) {
  constexpr int kWide = kWarp + 2 * R, kPairs = kWarp / 2;
  constexpr int kLoaded = PlaneLoader<T, F, R>::kSize, kBlurred = kWide * kSmoothRows;
  __shared__ float loaded[2][kFields<F> * kLoaded];
  __shared__ __align__(8) float blurred[2][kFields<F> * kBlurred];
  const Tile tile(march, n);
  const Image<T> image(images, tile.image, n.voxels());
  PlaneLoader<T, F, R> loader(image, n, tile);
  const int row = int(threadIdx.x) / kPairs, column = 2 * (int(threadIdx.x) % kPairs);
  const int x = tile.x0 + column, y = tile.y0 + row;
  const bool inside = x < n.width && y < n.height, both = x + 1 < n.width;
  const float scale_y = inside ? taps.scale_at(y, n.height) : 0.f;
  const float scale_left = inside ? taps.scale_at(x, n.width) : 0.f;
  const float scale_right = inside && both ? taps.scale_at(x + 1, n.width) : 0.f;
  smoothed += tile.image * n.voxels();
  const int column_at = inside ? y * n.width + x : 0;

  float left[kFields<F>][2 * R] = {}, right[kFields<F>][2 * R] = {};  // of planes z - R ... z + R - 1
  unsigned live = 0;  // bit k: plane z - k holds anything
  loader.fetch(tile.z0 - R);
  bool any = __syncthreads_or(loader.store(loaded[0]));
  for (int z = tile.z0 - R, now = 0; z < tile.z1 + R; ++z, now ^= 1) {
    live = live << 1 | unsigned(any);
    loader.fetch(z + 1);
    if (any) blur_y<F, R>(taps, loaded[now], blurred[now]);
    const bool next = __syncthreads_or(loader.store(loaded[now ^ 1]));
    const bool alive = live & ((2u << 2 * R) - 1);  // else all sums are 0
    Two sum[kFields<F>] = {};
    if (alive) {
#pragma unroll
      for (int f = 0; f < kFields<F>; ++f) {
        const Two two =
            any ? blur_x<R>(taps, blurred[now] + f * kBlurred + row * kWide + column) : Two{0.f, 0.f};
        sum[f] = {blur_z<R>(taps, two.left, left[f]), blur_z<R>(taps, two.right, right[f])};
      }
    }
    any = next;
    const int centre = z - R;
    if (centre < tile.z0 || !inside) continue;
    Two s{};
    if (alive) {
      const float scale = taps.scale_at(centre, n.depth) * scale_y;
      s = normalise(sum, scale * scale_left, scale * scale_right);
    }
    float* const out =
        smoothed + (uint32_t(centre) * uint32_t(n.height) * uint32_t(n.width) + uint32_t(column_at));
    out[0] = s.left;
    if (both) out[1] = s.right;
  }
}

}  // namespace
}  // namespace cuda
}  // namespace dal
