// s = (g * (m A)) / (g * m): all three axes in one kernel, for Gaussians of at most eight voxels' radius.
//
// A block smooths 32 x 16 columns and marches along z. R is the radius, 4, or 8 for any other.
//
//   plane of A          y blur, 4 a thread     x blur, 2 a thread          z blur, 2 a thread
//   32+2R x 16+2R   ->  32+2R x 16         ->  32 x 16, in registers   ->  2R sums under way for each,
//   shared, two         shared, two                                        in registers
//
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
template <int R, class F>
__device__ __forceinline__ F blur(const SmallTaps& taps, const F* line) {
  F sum = taps.tap[0] * line[R];
#pragma unroll
  for (int k = 1; k <= R; ++k)
    if (reaches<R>(taps, k)) sum = add(sum, taps.tap[k], line[R - k] + line[R + k]);
  return sum;
}

// Along z, transposed: sum[k] is what plane z - R + k has got so far. Takes the values of plane z and gives
// back the finished ones of plane z - R: moves and filters in one multiply-add.
template <int R, class F>
__device__ __forceinline__ F blur_z(const SmallTaps& taps, F v, F (&sum)[2 * R]) {
  const F finished = reaches<R>(taps, R) ? add(sum[0], taps.tap[R], v) : sum[0];
#pragma unroll
  for (int k = 0; k < 2 * R - 1; ++k) {
    const int distance = k < R ? R - 1 - k : k + 1 - R;
    sum[k] = reaches<R>(taps, distance) ? add(sum[k + 1], taps.tap[distance], v) : sum[k + 1];
  }
  sum[2 * R - 1] = reaches<R>(taps, R) ? taps.tap[R] * v : F{};
  return finished;
}

// Two neighbours in x.
template <class F>
struct alignas(2 * sizeof(F)) Two {
  F left, right;
};

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
      next.take(image, int64_t(z) * n.height * n.width, at);
    else
      next.clear();
  }
  // True if this thread's voxels count for anything.
  __device__ bool store(F* plane) const {
    bool any = false;
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      const int i = int(threadIdx.x) + j * kSmoothThreads;
      const F field = next[j];
      if (i < kSize) plane[i] = field;
      any |= counts(field);
    }
    return any;
  }
};

template <class F, int R>
__device__ __forceinline__ void blur_y(const SmallTaps& taps, const F* plane, F* blurred) {
  constexpr int kWide = kWarp + 2 * R;
  static_assert(kWide * (kSmoothRows / kStrip) <= kSmoothThreads, "a strip a thread");
  const int strip = int(threadIdx.x) / kWide, first = strip * kStrip * kWide + int(threadIdx.x) % kWide;
  if (strip >= kSmoothRows / kStrip) return;
  F line[kStrip + 2 * R];
#pragma unroll
  for (int i = 0; i < kStrip + 2 * R; ++i) line[i] = plane[first + i * kWide];
#pragma unroll
  for (int i = 0; i < kStrip; ++i) blurred[first + i * kWide] = blur<R>(taps, line + i);
}

// row: of blurred values, from R voxels before the first of the two.
template <class F, int R>
__device__ __forceinline__ Two<F> blur_x(const SmallTaps& taps, const F* row) {
  F line[2 * R + 2];
#pragma unroll
  for (int i = 0; i <= R; ++i) {
    const Two<F> two = reinterpret_cast<const Two<F>*>(row)[i];
    line[2 * i] = two.left;
    line[2 * i + 1] = two.right;
  }
  return {blur<R>(taps, line), blur<R>(taps, line + 1)};
}

// Blocks a multiprocessor that the registers allow.
template <class F, int R>
constexpr int kResident = (R == kUsualRadius ? 3 : 2) / int(sizeof(F) / sizeof(float));

template <class T, class F, int R>
__global__ void __launch_bounds__(kSmoothThreads, (kResident<F, R>))
    smooth_volume(const Images<T> images, Volume n, March march, SmallTaps taps, float* smoothed) {
  constexpr int kWide = kWarp + 2 * R, kPairs = kWarp / 2;
  __shared__ F loaded[2][PlaneLoader<T, F, R>::kSize];
  __shared__ __align__(16) F blurred[2][kWide * kSmoothRows];
  const Tile tile(march, n);
  const Image<T> image(images, tile.image, n.voxels());
  PlaneLoader<T, F, R> loader(image, n, tile);
  const int row = int(threadIdx.x) / kPairs, column = 2 * (int(threadIdx.x) % kPairs);
  const int x = tile.x0 + column, y = tile.y0 + row;
  const bool inside = x < n.width && y < n.height, both = x + 1 < n.width;
  const float scale_y = inside ? taps.scale_at(y, n.height) : 0.f;
  const float scale_left = inside ? taps.scale_at(x, n.width) : 0.f;
  const float scale_right = inside && both ? taps.scale_at(x + 1, n.width) : 0.f;
  smoothed += tile.image * n.voxels() + (inside ? int64_t(y) * n.width + x : 0);

  F left[2 * R] = {}, right[2 * R] = {};  // sums of planes z - R ... z + R - 1
  unsigned live = 0;  // bit k: plane z - k holds anything
  loader.fetch(tile.z0 - R);
  bool any = __syncthreads_or(loader.store(loaded[0]));
  for (int z = tile.z0 - R, now = 0; z < tile.z1 + R; ++z, now ^= 1) {
    live = live << 1 | unsigned(any);
    loader.fetch(z + 1);
    if (any) blur_y<F, R>(taps, loaded[now], blurred[now]);
    const bool next = __syncthreads_or(loader.store(loaded[now ^ 1]));
    const Two<F> two = any ? blur_x<F, R>(taps, blurred[now] + row * kWide + column) : Two<F>{};
    any = next;
    const bool alive = live & ((2u << 2 * R) - 1);  // else all sums are 0
    Two<F> sum{};
    if (alive) sum = {blur_z<R>(taps, two.left, left), blur_z<R>(taps, two.right, right)};
    const int centre = z - R;
    if (centre < tile.z0 || !inside) continue;
    Two<float> s{};
    if (alive) {
      const float scale = taps.scale_at(centre, n.depth) * scale_y;
      s = {normalise(sum.left, scale * scale_left), normalise(sum.right, scale * scale_right)};
    }
    float* const out = smoothed + int64_t(centre) * n.height * n.width;
    out[0] = s.left;
    if (both) out[1] = s.right;
  }
}

}  // namespace
}  // namespace cuda
}  // namespace dal
