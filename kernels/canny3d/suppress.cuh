// s -> gradient, magnitude, non-maximum suppression and double threshold: weak and strong voxels as bits.
//
// A block suppresses 32 x 22 columns and marches along z. A thread holds four rows of a column: warps
// 0 ... 5 rows y0 - 1 ... y0 + 22, warp 6 the columns on either side; warp 7 loads and suppresses only:
//
//             x0-1  x0 ... x0+31  x0+32
//   y0-1       6    0  ...  0      6        per plane and thread: Sobel in x and y from shared memory, in z
//   y0 ...     6    0  ...  0      6        from the planes before; magnitudes of four planes in shared
//    .         .    .       .      .        memory; suppression of rows y0 ... y0 + 21, one plane behind
//   y0+22      6    5  ...  5      6
//
// Voxels of at least the low threshold go on a list, from which all threads take them, a voxel each: they
// are a fifth, but nearly half of the warps hold one. Two lists alternate, since a plane is suppressed when
// the magnitudes of the next are there; a plane later its words are written.
//
// All values are 32 times the gradient: the thresholds are scaled instead, which is exact.
#pragma once
#include "canny3d/images.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kSuppressRows = 22, kColumnRows = 4;  // of a tile, of a thread
constexpr int kMagnitudeRows = kSuppressRows + 2, kMagnitudeWide = kWarp + 2;
constexpr int kPlaneRows = kSuppressRows + 4, kPlaneWide = kWarp + 4, kPlaneSize = kPlaneRows * kPlaneWide;
constexpr int kRowWarps = kMagnitudeRows / kColumnRows;
constexpr int kSuppressThreads = (kRowWarps + 2) * kWarp;
constexpr int kSuppressResident = 3;  // blocks of a multiprocessor

// A neighbour counts as higher when it exceeds the voxel by more than this fraction.
constexpr double kTie = 1e-4;

struct Thresholds {
  float low, high;  // of 32 M; low > 0, so that a voxel without gradient is no edge
};

struct Gradient {
  float x, y, z;
};

// What suppression decides about. place: of its magnitude.
struct alignas(16) Candidate {
  Gradient gradient;
  int place;
};

// Sobel in y and x of one plane: smooth in both, difference in x, difference in y.
struct Flat {
  float smooth, dx, dy;
};

__device__ __forceinline__ float smooth3(float before, float here, float after) {
  return before + (here + here) + after;
}
__device__ __forceinline__ float lerp(float a, float b, float weight) { return a + weight * (b - a); }

// Of the rows of a thread. s: the first voxel in a plane of kPlaneWide columns.
__device__ __forceinline__ void differentiate(const float* s, Flat (&flat)[kColumnRows]) {
  float smooth[kColumnRows + 2], difference[kColumnRows + 2];  // in x
#pragma unroll
  for (int i = 0; i < kColumnRows + 2; ++i) {
    const float* const row = s + (i - 1) * kPlaneWide;
    const float before = row[-1], after = row[1];
    smooth[i] = smooth3(before, row[0], after);
    difference[i] = after - before;
  }
#pragma unroll
  for (int j = 0; j < kColumnRows; ++j)
    flat[j] = {smooth3(smooth[j], smooth[j + 1], smooth[j + 2]),
               smooth3(difference[j], difference[j + 1], difference[j + 2]), smooth[j + 2] - smooth[j]};
}

// One row of a thread: Sobel in z over the planes as they come.
struct Column {
  Flat here{};  // of the last plane
  float smooth = 0.f, dx = 0.f, dy = 0.f;  // of the plane before it; that plus twice the last one
  Gradient gradient{};  // of the last plane but one

  // next: of a new plane. Returns the magnitude of the plane before it.
  __device__ float advance(Flat next, bool live) {
    gradient = {dx + next.dx, dy + next.dy, next.smooth - smooth};
    smooth = here.smooth;
    dx = here.dx + (next.dx + next.dx);
    dy = here.dy + (next.dy + next.dy);
    here = next;
    const Gradient g = gradient;
    const float square = live ? g.x * g.x + g.y * g.y + g.z * g.z : 0.f;
    return square == 0.f ? 0.f : sqrtf(square);  // the root of 0 takes three times as many instructions
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
  uint32_t at[kLoads];  // voxel in its plane
  float next[kLoads];

  __device__ SmoothedLoader(const float* s, Volume volume, const Tile& tile) : smoothed(s), n(volume) {
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      const int i = int(threadIdx.x) + j * kSuppressThreads;
      const int y = tile.y0 - 2 + i / kPlaneWide, x = tile.x0 - 2 + i % kPlaneWide;
      at[j] = uint32_t(min(max(y, 0), n.height - 1) * n.width + min(max(x, 0), n.width - 1));
    }
  }
  __device__ void fetch(int z) {
    const uint32_t first = uint32_t(min(max(z, 0), n.depth - 1)) * uint32_t(n.height) * uint32_t(n.width);
#pragma unroll
    for (int j = 0; j < kLoads; ++j)
      next[j] = int(threadIdx.x) + j * kSuppressThreads < kPlaneSize ? smoothed[first + at[j]] : 0.f;
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

// Where a thread's rows lie. Beyond the volume the edge voxel repeats.
struct ColumnPlace {
  int column, row;  // of the magnitudes
  int x, y;  // in the volume, of the first row; y may be -1 or too large
  bool spare;  // holds no column
  uint32_t inner = 0;  // bit j: row j is suppressed by this thread

  __device__ ColumnPlace(const Tile& tile, Volume n) {
    const int lane = int(threadIdx.x % kWarp), warp = int(threadIdx.x / kWarp);
    const bool aside = warp >= kRowWarps;
    spare = aside && (warp > kRowWarps || lane >= 2 * kRowWarps);
    column = aside ? lane % 2 * (kWarp + 1) : lane + 1;
    row = kColumnRows * (aside ? min(lane / 2, kRowWarps - 1) : warp);
    x = min(max(tile.x0 - 1 + column, 0), n.width - 1);
    y = tile.y0 - 1 + row;
#pragma unroll
    for (int j = 0; j < kColumnRows; ++j)
      if (!aside && row + j >= 1 && row + j <= kSuppressRows && y + j < n.height &&
          tile.x0 + lane < n.width)
        inner |= 1u << j;
    if (y == n.height) --y;  // of this thread only the first row counts, a copy of the one before
  }
  // The row before the volume and the one behind it become copies of their neighbours.
  __device__ void repeat_edges(float (&magnitude)[kColumnRows], int height) const {
    if (y < 0) magnitude[0] = magnitude[1];
#pragma unroll
    for (int j = 1; j < kColumnRows; ++j)
      if (y + j == height) magnitude[j] = magnitude[j - 1];
  }
};

// Adds the voxels of a thread whose bits are chosen to a list of `count`, which other warps add to as well.
// columns: at their gradients; place: of the first row's magnitude.
__device__ __forceinline__ void append(uint32_t chosen, const Column (&columns)[kColumnRows], int place,
                                       Candidate* list, int* count) {
  const int lane = int(threadIdx.x % kWarp);
  uint32_t ballots[kColumnRows];
  int total = 0;
#pragma unroll
  for (int j = 0; j < kColumnRows; ++j) {
    ballots[j] = __ballot_sync(kAllLanes, chosen >> j & 1);
    total += __popc(ballots[j]);
  }
  int at = 0;
  if (lane == 0 && total) at = atomicAdd(count, total);
  at = __shfl_sync(kAllLanes, at, 0);
#pragma unroll
  for (int j = 0; j < kColumnRows; ++j) {
    if (chosen >> j & 1)
      list[at + __popc(ballots[j] & ((1u << lane) - 1))] = {columns[j].gradient,
                                                            place + j * kMagnitudeWide};
    at += __popc(ballots[j]);
  }
}

// smoothed: images x voxels; mask: per_batch images share one, or null.
// weak, strong: images x depth x height x tiles_x words.
__global__ void __launch_bounds__(kSuppressThreads, kSuppressResident)
    suppress(const float* __restrict__ smoothed, const uint8_t* __restrict__ mask, int64_t first_image,
             int64_t per_batch, Volume n, March march, Thresholds threshold, uint32_t* weak,
             uint32_t* strong) {
  __shared__ float planes[2][kPlaneSize], magnitudes[4][kMagnitudeRows * kMagnitudeWide];
  __shared__ Candidate lists[2][kSuppressRows * kWarp];
  __shared__ int counts_of[4];  // by plane, as the magnitudes
  __shared__ uint32_t found[2][2][kSuppressRows];  // by plane: rows of weak and of strong bits
  const Tile tile(march, n);
  const ColumnPlace at(tile, n);
  const int thread = int(threadIdx.x), place = at.row * kMagnitudeWide + at.column;
  const int centre = (at.y - tile.y0 + 2) * kPlaneWide + at.x - tile.x0 + 2;
  if (mask) mask += (first_image + tile.image) / per_batch * n.voxels();
  const uint32_t mask_at = uint32_t(at.y) * uint32_t(n.width) + uint32_t(at.x);  // modulo 2^32
  const uint32_t first_row =
      uint32_t(tile.image) * uint32_t(n.depth) * uint32_t(n.height) + uint32_t(tile.y0);
  // Writes the words of a plane, and leaves zeros for the one after the next.
  const auto write_words = [&](int plane) {
    const int row = thread % kSuppressRows, kind = thread / kSuppressRows;
    if (kind >= 2) return;
    uint32_t* const word = &found[plane & 1][kind][row];
    const int64_t bits_row = first_row + uint32_t(plane) * uint32_t(n.height) + uint32_t(row);
    if (tile.y0 + row < n.height)
      (kind ? strong : weak)[bits_row * march.tiles_x + tile.x0 / kWarp] = *word;
    *word = 0;
  };

  SmoothedLoader loader(smoothed + tile.image * n.voxels(), n, tile);
  Column columns[kColumnRows];
  uint32_t wanted[kColumnRows];  // is inside the mask and suppressed by this thread; of plane z
#pragma unroll
  for (int j = 0; j < kColumnRows; ++j) wanted[j] = at.inner >> j & 1;
  unsigned live = 0;  // bit k: plane z - k of s is not all 0
  if (thread < 4) counts_of[thread] = 0;
  if (thread < 4 * kSuppressRows) (&found[0][0][0])[thread] = 0;
  loader.fetch(tile.z0 - 2);
  bool any = __syncthreads_or(loader.store(planes[tile.z0 & 1]));
  for (int z = tile.z0 - 2; z < tile.z1 + 2; ++z) {
    live = live << 1 | unsigned(any);
    loader.fetch(z + 1);
    float magnitude[kColumnRows] = {};
    if (!at.spare) {
      Flat next[kColumnRows] = {};
      if (any) differentiate(planes[z & 1] + centre, next);
#pragma unroll
      for (int j = 0; j < kColumnRows; ++j) magnitude[j] = columns[j].advance(next[j], live & 7);
      at.repeat_edges(magnitude, n.height);
#pragma unroll
      for (int j = 0; j < kColumnRows; ++j)
        magnitudes[(z - 1) & 3][place + j * kMagnitudeWide] = magnitude[j];
    }
    uint32_t chosen = 0;  // of plane z - 1
#pragma unroll
    for (int j = 0; j < kColumnRows; ++j)
      if (wanted[j] && magnitude[j] >= threshold.low) chosen |= 1u << j;
    if (mask && z >= tile.z0 && z < tile.z1) {
      const uint32_t voxel = uint32_t(z) * uint32_t(n.height) * uint32_t(n.width) + mask_at;
#pragma unroll
      for (int j = 0; j < kColumnRows; ++j)
        if (at.inner >> j & 1) wanted[j] = mask[voxel + uint32_t(j) * uint32_t(n.width)];
    }
    any = __syncthreads_or(loader.store(planes[(z + 1) & 1]));
    if (z > tile.z0 && z <= tile.z1 && thread < kRowWarps * kWarp)
      append(chosen, columns, place, lists[(z - 1) & 1], &counts_of[(z - 1) & 3]);
    const int done = z - 2;
    if (done < tile.z0) continue;
    if (done > tile.z0) write_words(done - 1);
    if (thread == 0) counts_of[(done - 1) & 3] = 0;
    const float* const before = magnitudes[max(done - 1, 0) & 3];
    const float* const here = magnitudes[done & 3];
    const float* const after = magnitudes[min(done + 1, n.depth - 1) & 3];
    for (int i = thread, count = counts_of[done & 3]; i < count; i += kSuppressThreads) {
      const Candidate voxel = lists[done & 1][i];
      const int own = voxel.place;
      if (!is_maximum(before + own, here + own, after + own, voxel.gradient)) continue;
      const int row = own / kMagnitudeWide - 1;
      const uint32_t bit = 1u << (own % kMagnitudeWide - 1);
      atomicOr(&found[done & 1][0][row], bit);
      if (here[own] >= threshold.high) atomicOr(&found[done & 1][1][row], bit);
    }
  }
  __syncthreads();
  write_words(tile.z1 - 1);
}

}  // namespace
}  // namespace cuda
}  // namespace dal
