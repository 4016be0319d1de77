// s -> gradient, magnitude, non-maximum suppression and double threshold: weak and strong voxels as bits.
//
// A block suppresses 32 x 14 columns and marches along z. Its warps 0 ... 15 hold a row of 32 columns
// each, rows y0 - 1 ... y0 + 14; the last warp holds the columns on either side:
//
//        x0-1  x0 ... x0+31  x0+32
//   y0-1   16   0 ...  0      16          per plane and thread: Sobel in y and x from shared memory, in z
//   y0     16   1 ...  1      16          from the thread's last three planes; magnitudes of four planes in
//    .      .   .      .       .          shared memory; suppression by warps 1 ... 14, one plane behind
//   y0+14  16  15 ... 15      16
//
// All values are 32 times the gradient: the thresholds are scaled instead, which is exact.
#pragma once
#include "canny3d/images.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kSuppressRows = 14;
constexpr int kMagnitudeRows = kSuppressRows + 2, kMagnitudeWide = kWarp + 2;
constexpr int kPlaneRows = kSuppressRows + 4, kPlaneWide = kWarp + 4, kPlaneSize = kPlaneRows * kPlaneWide;
constexpr int kSuppressThreads = (kMagnitudeRows + 1) * kWarp;
constexpr int kMagnitudes = kMagnitudeRows * kMagnitudeWide;
static_assert(2 * kMagnitudeRows == kWarp, "one warp holds both side columns");

// A neighbour counts as higher when it exceeds the voxel by more than this fraction.
constexpr double kTie = 1e-4;

struct Thresholds {
  float low, high;  // of 32 M; low > 0, so that a voxel without gradient is no edge
};

// Sobel in y and x of one plane: smooth in both, difference in x, difference in y.
struct Flat {
  float smooth, dx, dy;
};
struct Gradient {
  float x, y, z;
};

__device__ __forceinline__ float smooth3(float before, float here, float after) {
  return before + (here + here) + after;
}
__device__ __forceinline__ float lerp(float a, float b, float weight) { return a + weight * (b - a); }

// s: the voxel in a plane of kPlaneWide columns.
__device__ __forceinline__ Flat differentiate(const float* s) {
  float smooth[3], difference[3];
#pragma unroll
  for (int x = 0; x < 3; ++x) {
    const float before = s[x - 1 - kPlaneWide], after = s[x - 1 + kPlaneWide];
    smooth[x] = smooth3(before, s[x - 1], after);
    difference[x] = after - before;
  }
  return {smooth3(smooth[0], smooth[1], smooth[2]), smooth[2] - smooth[0],
          smooth3(difference[0], difference[1], difference[2])};
}

// before, here, after: the voxel in the magnitudes of planes z - 1, z, z + 1. True if the magnitude at
// v + d and v - d, d = g / max_i |g_i|, exceeds it on neither side. Steps in x, then y, then z.
__device__ __forceinline__ bool is_maximum(const float* before, const float* here, const float* after,
                                           Gradient g) {
  const float ax = fabsf(g.x), ay = fabsf(g.y), az = fabsf(g.z), inverse = 1.f / fmaxf(fmaxf(ax, ay), az);
  const float ux = ax * inverse, uy = ay * inverse, uz = az * inverse, limit = *here * float(1 + kTie);
  bool maximum = true;
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const int x = (g.x < 0.f) != (side == 1) ? -1 : 1;
    const int y = (g.y < 0.f) != (side == 1) ? -kMagnitudeWide : kMagnitudeWide;
    const auto row = [=](const float* m) { return lerp(m[0], m[x], ux); };
    const auto plane = [=](const float* m) { return lerp(row(m), row(m + y), uy); };
    const float value = lerp(plane(here), plane((g.z < 0.f) != (side == 1) ? before : after), uz);
    maximum = maximum && value <= limit;
  }
  return maximum;
}

// Planes of s with two voxels around the tile; the edge voxel repeats beyond the volume.
struct SmoothedLoader {
  static constexpr int kLoads = (kPlaneSize + kSuppressThreads - 1) / kSuppressThreads;
  const float* smoothed;
  const Volume n;
  int at[kLoads];  // voxel in its plane
  float next[kLoads];

  __device__ SmoothedLoader(const float* s, Volume volume, const Tile& tile) : smoothed(s), n(volume) {
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      const int i = int(threadIdx.x) + j * kSuppressThreads;
      const int y = tile.y0 - 2 + i / kPlaneWide, x = tile.x0 - 2 + i % kPlaneWide;
      at[j] = min(max(y, 0), n.height - 1) * n.width + min(max(x, 0), n.width - 1);
    }
  }
  __device__ void fetch(int z) {
    const float* const plane = smoothed + int64_t(min(max(z, 0), n.depth - 1)) * n.height * n.width;
#pragma unroll
    for (int j = 0; j < kLoads; ++j)
      next[j] = int(threadIdx.x) + j * kSuppressThreads < kPlaneSize ? plane[at[j]] : 0.f;
  }
  // True if one of this thread's values is not 0.
  __device__ bool store(float* plane) const {
    bool any = false;
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      const int i = int(threadIdx.x) + j * kSuppressThreads;
      if (i < kPlaneSize) plane[i] = next[j];
      any |= counts(next[j]);
    }
    return any;
  }
};

// smoothed: images x voxels; mask: of this launch's images, per_batch images a mask, or null.
// weak, strong: images x depth x height x tiles_x words.
__global__ void __launch_bounds__(kSuppressThreads, 2)
    suppress(const float* __restrict__ smoothed, const uint8_t* __restrict__ mask, int64_t first_image,
             int64_t per_batch, Volume n, March march, Thresholds threshold, uint32_t* weak,
             uint32_t* strong) {
  __shared__ float planes[2][kPlaneSize], magnitudes[4][kMagnitudes];
  const Tile tile(march, n);
  const int lane = int(threadIdx.x % kWarp), warp = int(threadIdx.x / kWarp);
  const bool aside = warp == kMagnitudeRows;
  const int row = aside ? lane % kMagnitudeRows : warp;  // of the magnitudes, and its column
  const int column = aside ? lane / kMagnitudeRows * (kWarp + 1) : lane + 1;
  const int y = min(max(tile.y0 - 1 + row, 0), n.height - 1),
            x = min(max(tile.x0 - 1 + column, 0), n.width - 1);
  const int centre = (y - tile.y0 + 2) * kPlaneWide + x - tile.x0 + 2,
            place = row * kMagnitudeWide + column;
  const bool inner = row >= 1 && row <= kSuppressRows && !aside && tile.y0 - 1 + row < n.height;
  const int64_t row_of_bits = int64_t(tile.image) * n.depth * n.height + y;
  if (mask) mask += (first_image + tile.image) / per_batch * n.voxels() + int64_t(y) * n.width + x;

  SmoothedLoader loader(smoothed + tile.image * n.voxels(), n, tile);
  Flat flat[3] = {};  // of planes z - 2, z - 1, z
  Gradient gradient{};  // of plane z - 1, then of plane z - 2
  float magnitude = 0.f;
  unsigned live = 0;  // bit k: plane z - k of s is not all 0
  loader.fetch(tile.z0 - 2);
  bool any = __syncthreads_or(loader.store(planes[0]));
  for (int z = tile.z0 - 2, now = 0; z < tile.z1 + 2; ++z, now ^= 1) {
    live = live << 1 | unsigned(any);
    loader.fetch(z + 1);
    const Gradient behind = gradient;  // of plane z - 2
    const float magnitude_behind = magnitude;
    flat[0] = flat[1];
    flat[1] = flat[2];
    flat[2] = any ? differentiate(planes[now] + centre) : Flat{};
    gradient = {smooth3(flat[0].dx, flat[1].dx, flat[2].dx), smooth3(flat[0].dy, flat[1].dy, flat[2].dy),
                flat[2].smooth - flat[0].smooth};
    magnitude =
        live & 7 ? sqrtf(gradient.x * gradient.x + gradient.y * gradient.y + gradient.z * gradient.z) : 0.f;
    magnitudes[(z - 1) & 3][place] = magnitude;
    any = __syncthreads_or(loader.store(planes[now ^ 1]));

    const int done = z - 2;
    if (done < tile.z0 || !inner) continue;
    bool kept = magnitude_behind >= threshold.low && tile.x0 + lane < n.width;
    if (kept && mask) kept = mask[int64_t(done) * n.height * n.width] != 0;
    if (kept)
      kept = is_maximum(magnitudes[max(done - 1, 0) & 3] + place, magnitudes[done & 3] + place,
                        magnitudes[min(done + 1, n.depth - 1) & 3] + place, behind);
    const uint32_t is_weak = __ballot_sync(0xffffffffu, kept);
    const uint32_t is_strong = __ballot_sync(0xffffffffu, kept && magnitude_behind >= threshold.high);
    if (lane == 0) {
      const int64_t word = (row_of_bits + int64_t(done) * n.height) * march.tiles_x + tile.x0 / kWarp;
      weak[word] = is_weak;
      strong[word] = is_strong;
    }
  }
}

}  // namespace
}  // namespace cuda
}  // namespace dal
