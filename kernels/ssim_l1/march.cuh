// Filters a tile while marching along z, for radii known at compile time; nothing between the input and the
// finished voxel leaves the multiprocessor. Include only from ssim_l1_cuda.cu.
//
//   plane z --stage--> u, v with margin --F along x--> two fields a pair --F along y--> 4 rows a thread
//   (global)           (shared)         8 columns      (shared)          4 rows         (registers)
//                                       a thread                         a thread            |
//   out <--combine-- finished voxels <--F along z, 2r sums in flight for each output---------+
//
// Along z the filter is transposed: sum[k] is what plane z - r + k has got so far, and a new value f does
// sum[k] = sum[k + 1] + w f, which moves and filters in one multiply-add.
//
// Between two barriers the planes z.. are filtered along x, those before z along y, and those after are on
// their way to shared memory.
#pragma once
#include "ssim_l1/combine.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kColumns = 8;  // filtered together along x by one thread
constexpr unsigned kTurn = 64;  // threads: by two warps, so that all four schedulers get x tasks in turn

// Shared memory of a block, in floats. Rows are an odd number of 16-byte units apart, so that 8 threads at
// the same columns of neighbouring rows use all banks.
template <int R, class Source>
struct Layout {
  static constexpr int kMargin = (R + 3) / 4 * 4;  // columns staged on each side
  static constexpr int kRowGroups = (kTileX + 2 * kMargin) / 4;  // of four columns
  static constexpr int kHeight = kTileY + 2 * R;
  static constexpr int kGroups = kHeight * kRowGroups;
  static constexpr int kTasks = kHeight * 2 * (kTileX / kColumns);  // of the x pass
  static constexpr int kStagedRow = (kRowGroups | 1) * 4;
  static constexpr int kStagedPlane = kHeight * kStagedRow;
  static constexpr int kStaged = Source::kPlanes * kStagedPlane;
  static constexpr int kFilteredRow = 2 * kTileX + 4;  // (column, field)
  static constexpr int kFilteredPlane = kHeight * kFilteredRow;
  static constexpr int kFiltered = 2 * kFilteredPlane;  // (pair, row, column, field)
  static constexpr int kFloats = 2 * Source::kTogether * (kStaged + kFiltered) + kRowGroups * 4 + kHeight;

  // Where the tile's rows and columns with margin lie.
  static __device__ void reflect_margin(const Tile& tile, const Shape& shape, int* rows, int* columns) {
    const int i = int(threadIdx.x);
    if (i < kHeight) rows[i] = reflect(tile.y0 - R + i, shape.height);
    if (i < kRowGroups * 4) columns[i] = reflect(tile.x0 - kMargin + i, shape.width);
  }
};

// The groups of four columns of a plane that are this thread's: copied, then converted.
template <int R, class Source>
struct Stager {
  using L = Layout<R, Source>;

  template <class F>
  static __device__ __forceinline__ void each_group(unsigned thread, F&& f) {
#pragma unroll
    for (unsigned i = 0; i < L::kGroups; i += kThreads)
      if (i + thread < L::kGroups) f((i + thread) / L::kRowGroups, (i + thread) % L::kRowGroups * 4);
  }
  // rows, columns: where the tile's rows and columns with margin lie after reflection
  static __device__ void copy(unsigned thread, const Source& source, const Tile& tile, int z,
                              const int* rows, const int* columns, float* staged) {
    const int64_t plane = tile.plane(source.shape, reflect(z, source.shape.depth));
    each_group(thread, [&](unsigned row, unsigned column) {
      source.copy(plane, rows[row], Columns{*reinterpret_cast<const int4*>(columns + column)},
                  staged + row * L::kStagedRow + column, L::kStagedPlane);
    });
  }
  static __device__ void convert(unsigned thread, const Source& source, const Tile& tile,
                                 const Shift& shift, const int* columns, float* staged) {
    const bool inside = tile.x0 >= L::kMargin && tile.x0 + kTileX + L::kMargin <= source.shape.width;
    if (inside && !Source::kConverts) return;
    each_group(thread, [&](unsigned row, unsigned column) {
      source.convert(staged + row * L::kStagedRow + column, L::kStagedPlane,
                     Columns{*reinterpret_cast<const int4*>(columns + column)}, shift);
    });
  }
};

// Along x: eight outputs of both fields of a pair. out[i] = sum_d w[|d|] in[i + d].
template <int R, class Source>
__device__ __forceinline__ void filter_x(unsigned task, const float* staged, const Weights& w,
                                         float* filtered) {
  using L = Layout<R, Source>;
  const unsigned row = task % L::kHeight, strip = task / L::kHeight;
  const unsigned pair = strip / (kTileX / kColumns), x = strip % (kTileX / kColumns) * kColumns;
  const float* const in = staged + row * L::kStagedRow + x;
  float a[kColumns] = {}, b[kColumns] = {};
#pragma unroll
  for (int c = (L::kMargin - R) / 4 * 4; c < L::kMargin + kColumns + R; c += 4) {
    float va[4], vb[4];
    Source::pair(in + c, pair, L::kStagedPlane, va, vb);
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        const int d = c + j - L::kMargin - i, distance = d < 0 ? -d : d;
        if (distance > R) continue;
        a[i] += w.w[distance] * va[j];
        b[i] += w.w[distance] * vb[j];
      }
  }
  float4* const out =
      reinterpret_cast<float4*>(filtered + pair * L::kFilteredPlane + row * L::kFilteredRow + 2 * x);
#pragma unroll
  for (int i = 0; i < kColumns; i += 2) out[i / 2] = {a[i], b[i], a[i + 1], b[i + 1]};
}

// Along x: the planes of one step.
template <int R, class Source>
__device__ __forceinline__ void filter_planes_x(unsigned thread, const float* staged, const Weights& w,
                                                float* filtered) {
  using L = Layout<R, Source>;
#pragma unroll 1
  for (unsigned task = thread; task < Source::kTogether * L::kTasks; task += kThreads) {
    const unsigned k = task / L::kTasks;
    filter_x<R, Source>(task % L::kTasks, staged + k * L::kStaged, w, filtered + k * L::kFiltered);
  }
}

// Along y: four rows of both fields.
template <int R, class Source>
__device__ __forceinline__ void filter_y(const float* filtered, const Place& place, const Weights& w,
                                         float (&f)[kRows][2]) {
  using L = Layout<R, Source>;
  const float* const in =
      filtered + place.pair * L::kFilteredPlane + place.y * L::kFilteredRow + 2 * place.x;
#pragma unroll
  for (int k = 0; k < kRows + 2 * R; ++k) {
    const float2 v = *reinterpret_cast<const float2*>(in + k * L::kFilteredRow);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int d = k - R - r, distance = d < 0 ? -d : d;
      if (distance > R) continue;
      f[r][0] += w.w[distance] * v.x;
      f[r][1] += w.w[distance] * v.y;
    }
  }
}

// Along z: takes the new plane's values and gives back those of the plane that is finished, r earlier.
template <int R>
__device__ __forceinline__ void filter_z(float (&f)[kRows][2], const Weights& w,
                                         float (&sum)[kRows][2][2 * R]) {
#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float v = f[r][i];
      f[r][i] = sum[r][i][0] + w.w[R] * v;
#pragma unroll
      for (int k = 0; k < 2 * R - 1; ++k)
        sum[r][i][k] = sum[r][i][k + 1] + w.w[k < R ? R - 1 - k : k + 1 - R] * v;
      sum[r][i][2 * R - 1] = w.w[R] * v;
    }
}

// kSingle: the volumes are float32, four voxels of which can be read at once; else all follows from their
// storage type at run time.
template <int R, class Source, class Work, bool kSingle>
__global__ void __launch_bounds__(kThreads, kBlocks)
    march(Source source, Work work, Shape shape, Weights w) {
  using L = Layout<R, Source>;
  using Stage = Stager<R, Source>;
  constexpr int kStep = Source::kTogether;
  if (kSingle) {
    source.in.is_single();
    work.inputs().is_single();
  }
  __shared__ Shared shared;
  DAL_DYNAMIC_SHARED(float, staged);
  float* const filtered = staged + 2 * kStep * L::kStaged;
  int* const columns = reinterpret_cast<int*>(filtered + 2 * kStep * L::kFiltered);
  int* const rows = columns + 4 * L::kRowGroups;

  const auto thread = [] { return Work::kTight ? thread_index_anew() : threadIdx.x; };
  Totals totals;
  const int group = int(blockIdx.x % unsigned(shape.groups));
  int64_t at = int64_t(blockIdx.x / unsigned(shape.groups)) * shape.share;
  const int64_t last = min(at + shape.share, shape.length);
#pragma unroll 1
  while (at < last) {
    const Tile tile(shape, group, at, last);
    at += tile.z1 - tile.z0;
    if (threadIdx.x == 0) shared.fill(source.in, tile.volume), work.fill(shared);
    L::reflect_margin(tile, shape, rows, columns);
    __syncthreads();
    float sum[kRows][2][2 * R] = {};
    const int first = tile.z0 - R, end = tile.z1 + R;
#pragma unroll 1
    for (int z = first - kStep, half = 1; z < end + kStep; z += kStep, half = 1 - half) {
      float* const next = staged + (1 - half) * kStep * L::kStaged;
      const bool more = z + kStep < end;
#pragma unroll 1
      for (int k = 0; k < kStep && more; ++k)
        Stage::copy(thread(), source, tile, z + kStep + k, rows, columns, next + k * L::kStaged);
      if (z >= first && z < end)
        filter_planes_x<R, Source>(thread() ^ (half * kTurn), staged + half * kStep * L::kStaged, w,
                                   filtered + half * kStep * L::kFiltered);
#pragma unroll 1
      for (int k = 0; k < kStep && z > first; ++k) {
        const int done = z - kStep + k - R;  // the plane that is finished
        const bool wanted = done >= tile.z0 && done < tile.z1;
        uint32_t voxels[kRows] = {};
        if (wanted) work.load(tile, Place(thread()), done, voxels);
        float f[kRows][2] = {};
        filter_y<R, Source>(filtered + ((1 - half) * kStep + k) * L::kFiltered, Place(thread()), w, f);
        filter_z<R>(f, w, sum);
        if (wanted) work.combine(tile, Place(thread()), done, shared, voxels, f, totals);
      }
      if (more) {
        wait_for_copies();
#pragma unroll 1
        for (int k = 0; k < kStep; ++k)
          Stage::convert(thread(), source, tile, shared.shift, columns, next + k * L::kStaged);
      }
      __syncthreads();
    }
  }
  work.finish(totals);
}

}  // namespace
}  // namespace cuda
}  // namespace dal
