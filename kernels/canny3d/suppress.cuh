// s -> gradient, magnitude, non-maximum suppression and double threshold: weak and strong voxels as bits.
//
// A block suppresses 32 x 24 columns and marches along z. A thread holds two rows of a column: warps
// 0 ... 12 rows y0 - 1 ... y0 + 24, the last warp the columns on either side:
//
//          x0-1  x0 ... x0+31  x0+32
//   y0-1    13   0 ...  0      13         per plane and thread: Sobel in y and x from shared memory, in z
//   y0      13   0 ...  0      13         from the planes before; magnitudes of four planes in shared
//   y0+1    13   1 ...  1      13         memory; suppression of rows y0 ... y0 + 23, one plane behind
//    .      .    .      .       .
//   y0+24   13  12 ... 12      13
//
// All values are 32 times the gradient: the thresholds are scaled instead, which is exact.
#pragma once
#include "canny3d/images.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kSuppressRows = 24;
constexpr int kMagnitudeRows = kSuppressRows + 2, kMagnitudeWide = kWarp + 2;
constexpr int kPlaneRows = kSuppressRows + 4, kPlaneWide = kWarp + 4, kPlaneSize = kPlaneRows * kPlaneWide;
constexpr int kRowWarps = kMagnitudeRows / 2;
constexpr int kSuppressThreads = (kRowWarps + 1) * kWarp;
constexpr int kSuppressResident = 2;  // blocks of a multiprocessor

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

// One row of a thread: Sobel in z over the planes as they come.
struct Column {
  Flat here{};  // of the last plane
  float smooth = 0.f, dx = 0.f, dy = 0.f;  // of the plane before it; that plus twice the last one
  Gradient gradient{}, behind{};  // of the last plane but one, and of that before

  // next: of a new plane. Returns the magnitude of the plane before it.
  __device__ float advance(Flat next, bool live) {
    behind = gradient;
    gradient = {dx + next.dx, dy + next.dy, next.smooth - smooth};
    smooth = here.smooth;
    dx = here.dx + (next.dx + next.dx);
    dy = here.dy + (next.dy + next.dy);
    here = next;
    const Gradient g = gradient;
    return live ? sqrtf(g.x * g.x + g.y * g.y + g.z * g.z) : 0.f;
  }
};

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

// Where a thread's two rows lie; in the volume the edge voxel repeats.
struct ColumnPlace {
  int column, row, x, y[2];  // column, row: of the magnitudes; x, y: in the volume
  bool spare;  // the last warp has more lanes than columns; these repeat a column, but write nothing
  bool inner[2];  // suppressed by this thread

  __device__ ColumnPlace(const Tile& tile, Volume n) {
    const int lane = int(threadIdx.x % kWarp), warp = int(threadIdx.x / kWarp);
    const bool aside = warp == kRowWarps;
    spare = aside && lane >= kMagnitudeRows;
    column = aside ? lane % 2 * (kWarp + 1) : lane + 1;
    row = 2 * (aside ? min(lane / 2, kRowWarps - 1) : warp);
    x = min(max(tile.x0 - 1 + column, 0), n.width - 1);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int at = tile.y0 - 1 + row + j;
      y[j] = min(max(at, 0), n.height - 1);
      inner[j] =
          !aside && row + j >= 1 && row + j <= kSuppressRows && at < n.height && tile.x0 + lane < n.width;
    }
  }
};

// smoothed: images x voxels; mask: per_batch images share one, or null.
// weak, strong: images x depth x height x tiles_x words.
__global__ void __launch_bounds__(kSuppressThreads, kSuppressResident)
    suppress(const float* __restrict__ smoothed, const uint8_t* __restrict__ mask, int64_t first_image,
             int64_t per_batch, Volume n, March march, Thresholds threshold, uint32_t* weak,
             uint32_t* strong) {
  __shared__ float planes[2][kPlaneSize], magnitudes[4][kMagnitudeRows * kMagnitudeWide];
  const Tile tile(march, n);
  const ColumnPlace at(tile, n);
  const int lane = int(threadIdx.x % kWarp), place = at.row * kMagnitudeWide + at.column;
  if (mask) mask += (first_image + tile.image) / per_batch * n.voxels() + at.x;
  const int64_t words = int64_t(tile.image) * n.depth * n.height * march.tiles_x + tile.x0 / kWarp;

  SmoothedLoader loader(smoothed + tile.image * n.voxels(), n, tile);
  Column columns[2];
  uint32_t masked[2] = {1, 1}, next_masked[2] = {1, 1};  // of the plane being suppressed, of that after it
  unsigned live = 0;  // bit k: plane z - k of s is not all 0
  loader.fetch(tile.z0 - 2);
  bool any = __syncthreads_or(loader.store(planes[0]));
  for (int z = tile.z0 - 2, now = 0; z < tile.z1 + 2; ++z, now ^= 1) {
    live = live << 1 | unsigned(any);
    loader.fetch(z + 1);
    if (mask) {
      const uint8_t* const plane = mask + int64_t(min(max(z - 1, 0), n.depth - 1)) * n.height * n.width;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        masked[j] = next_masked[j];
        next_masked[j] = plane[at.y[j] * n.width];
      }
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int centre = (at.y[j] - tile.y0 + 2) * kPlaneWide + at.x - tile.x0 + 2;
      const Flat next = any ? differentiate(planes[now] + centre) : Flat{};
      const float magnitude = columns[j].advance(next, live & 7);
      if (!at.spare) magnitudes[(z - 1) & 3][place + j * kMagnitudeWide] = magnitude;
    }
    any = __syncthreads_or(loader.store(planes[now ^ 1]));
    const int done = z - 2;
    if (done < tile.z0) continue;
    const float* const before = magnitudes[max(done - 1, 0) & 3] + place;
    const float* const here = magnitudes[done & 3] + place;
    const float* const after = magnitudes[min(done + 1, n.depth - 1) & 3] + place;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int own = j * kMagnitudeWide;
      const int64_t row = int64_t(done) * n.height + at.y[j];
      const float magnitude = here[own];
      bool kept = at.inner[j] && magnitude >= threshold.low && masked[j];
      if (kept) kept = is_maximum(before + own, here + own, after + own, columns[j].behind);
      const uint32_t is_weak = __ballot_sync(0xffffffffu, kept);
      const uint32_t is_strong = __ballot_sync(0xffffffffu, kept && magnitude >= threshold.high);
      if (lane == 0 && at.inner[j]) {
        weak[words + row * march.tiles_x] = is_weak;
        strong[words + row * march.tiles_x] = is_strong;
      }
    }
  }
}

}  // namespace
}  // namespace cuda
}  // namespace dal
