// s = (g * (m A)) / (g * m): all three axes in one kernel, for Gaussians of at most eight voxels' radius.
//
// A block smooths 32 x 16 columns and marches along z. R: the radius, rounded up to 4 or 8.
//
//   plane of A          y blur              x blur, in registers          z blur
//   32+2R x 16+2R   ->  32+2R x 16     ->   32 x 16, a voxel a thread ->  from the last 2R+1 planes
//   shared, two         shared, two         ring of 2R+1 a thread         of the thread's ring
//
// While a plane is blurred the next one is on its way from memory; two buffers of each make do with one
// barrier a plane. Planes of nothing but zeros (background, outside the mask) are not blurred.
// The order of the sums is that of the CPU: the same bits.
#pragma once
#include "canny3d/images.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kSmallRadius = 8;
constexpr int kSmoothRows = 16;
constexpr int kSmoothThreads = kSmoothRows * kWarp;

// By value with the launch. scale[a][b] = 1 / sum_{-a <= k <= b} g(k): a and b voxels lie on either side.
struct SmallTaps {
  int radius;
  float tap[kSmallRadius + 1];
  float scale[kSmallRadius + 1][kSmallRadius + 1];

  __device__ float scale_at(int i, int n) const { return scale[min(i, radius)][min(n - 1 - i, radius)]; }
};

// taps[0] at(0) + sum_k taps[k] (at(-k) + at(k)).
template <int R, class At>
__device__ __forceinline__ auto blur(const SmallTaps& taps, At at) {
  auto sum = taps.tap[0] * at(0);
#pragma unroll
  for (int k = 1; k <= R; ++k)
    if (k <= taps.radius) sum = sum + taps.tap[k] * (at(-k) + at(k));
  return sum;
}

// Planes of (32 + 2R) x (16 + 2R) voxels of field F around a tile; zeros beyond the volume.
template <class T, class F, int R>
struct PlaneLoader {
  static constexpr int kWide = kWarp + 2 * R, kSize = kWide * (kSmoothRows + 2 * R);
  static constexpr int kLoads = (kSize + kSmoothThreads - 1) / kSmoothThreads;

  const Image<T>& image;
  const Volume n;
  int at[kLoads];  // voxel in its plane, -1 beyond the volume
  F next[kLoads];

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
    const int64_t plane = int64_t(z) * n.height * n.width;
#pragma unroll
    for (int j = 0; j < kLoads; ++j)
      next[j] = at[j] >= 0 && z >= 0 && z < n.depth ? take<F>(image, plane + at[j]) : F{};
  }
  // True if this thread's voxels count for anything.
  __device__ bool store(F* plane) const {
    bool any = false;
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      const int i = int(threadIdx.x) + j * kSmoothThreads;
      if (i < kSize) plane[i] = next[j];
      any |= counts(next[j]);
    }
    return any;
  }
};

template <class F, int R>
__device__ __forceinline__ void blur_y(const SmallTaps& taps, const F* plane, F* blurred) {
  constexpr int kWide = kWarp + 2 * R;
  for (int i = int(threadIdx.x); i < kWide * kSmoothRows; i += kSmoothThreads) {
    const F* centre = plane + i + R * kWide;
    blurred[i] = blur<R>(taps, [=](int k) { return centre[k * kWide]; });
  }
}

template <class T, class F, int R>
__global__ void __launch_bounds__(kSmoothThreads)
    smooth_volume(const Images<T> images, Volume n, March march, SmallTaps taps, float* smoothed) {
  constexpr int kWide = kWarp + 2 * R;
  __shared__ F loaded[2][PlaneLoader<T, F, R>::kSize], blurred[2][kWide * kSmoothRows];
  const Tile tile(march, n);
  const Image<T> image(images, tile.image, n.voxels());
  PlaneLoader<T, F, R> loader(image, n, tile);
  const int x = tile.x0 + int(threadIdx.x % kWarp), y = tile.y0 + int(threadIdx.x / kWarp);
  const bool inside = x < n.width && y < n.height;
  const float scale_x = inside ? taps.scale_at(x, n.width) : 0.f;
  const float scale_y = inside ? taps.scale_at(y, n.height) : 0.f;
  smoothed += tile.image * n.voxels() + (inside ? int64_t(y) * n.width + x : 0);
  const F* const line = blurred[0] + threadIdx.x / kWarp * kWide + R + threadIdx.x % kWarp;

  F ring[2 * R + 1] = {};  // of planes z - 2R ... z
  unsigned live = 0;  // bit k: plane z - k holds anything
  loader.fetch(tile.z0 - R);
  bool any = __syncthreads_or(loader.store(loaded[0]));
  for (int z = tile.z0 - R, now = 0; z < tile.z1 + R; ++z, now ^= 1) {
    live = live << 1 | unsigned(any);
    loader.fetch(z + 1);
    if (any) blur_y<F, R>(taps, loaded[now], blurred[now]);
    const bool next = __syncthreads_or(loader.store(loaded[now ^ 1]));
#pragma unroll
    for (int k = 0; k < 2 * R; ++k) ring[k] = ring[k + 1];
    ring[2 * R] = F{};
    if (any) ring[2 * R] = blur<R>(taps, [&](int k) { return line[now * kWide * kSmoothRows + k]; });
    any = next;
    const int centre = z - R;
    if (centre < tile.z0 || !inside) continue;
    float s = 0.f;
    if (live & ((2u << 2 * R) - 1)) {
      const float scale = taps.scale_at(centre, n.depth) * scale_y;
      s = normalise(blur<R>(taps, [&](int k) { return ring[R + k]; }), scale * scale_x);
    }
    smoothed[int64_t(centre) * n.height * n.width] = s;
  }
}

}  // namespace
}  // namespace cuda
}  // namespace dal
