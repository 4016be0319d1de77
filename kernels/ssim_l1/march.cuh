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
// The x pass of plane z and the y pass of plane z - 1 share one phase between barriers.
#pragma once
#include "ssim_l1/combine.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kColumns = 8;  // filtered together along x by one thread

// Shared memory of a block, in floats. Rows are an odd number of 16-byte units apart, so that 8 threads at
// the same columns of neighbouring rows use all banks.
template <int R, class Source>
struct Layout {
  static constexpr int kMargin = (R + 3) / 4 * 4;  // columns staged on each side
  static constexpr int kGroups = (kSide + 2 * kMargin) / 4;  // of four columns
  static constexpr int kHeight = kSide + 2 * R;
  static constexpr int kStagedRow = (kGroups | 1) * 4;
  static constexpr int kStagedPlane = kHeight * kStagedRow;
  static constexpr int kStaged = Source::kPlanes * kStagedPlane;
  static constexpr int kFilteredRow = 2 * kSide + 4;  // (column, field)
  static constexpr int kFilteredPlane = kHeight * kFilteredRow;
  static constexpr int kFiltered = 2 * kFilteredPlane;  // (pair, row, column, field)
  static constexpr int floats(int stages) {
    return stages * kStaged + 2 * kFiltered + kGroups * 4 + kHeight;
  }
  static_assert(kHeight * kGroups <= kThreads, "one group a thread");
  static_assert(kHeight * 2 * (kSide / kColumns) <= kThreads, "one x task a thread");
};

// Four columns of the staged planes by each thread: fetched into registers one plane ahead, then put.
template <int R, class Source>
struct Stager {
  using L = Layout<R, Source>;
  typename Source::Group v[Source::kPlanes];

  // rows, columns: where the tile's rows and columns with margin lie after reflection
  __device__ void fetch(unsigned thread, const Source& source, const Tile& tile, int z, const int* rows,
                        const int* columns) {
    const unsigned row = thread / L::kGroups, column = thread % L::kGroups * 4;
    if (row >= L::kHeight) return;
    const int4& reflected = *reinterpret_cast<const int4*>(columns + column);
    source.fetch(tile.plane(source.shape, reflect(z, source.shape.depth)), rows[row],
                 tile.x0 - L::kMargin + int(column), reflected, v);
  }
  __device__ void put(unsigned thread, const Source& source, const Shift& shift, float* staged) const {
    const unsigned row = thread / L::kGroups, column = thread % L::kGroups * 4;
    if (row >= L::kHeight) return;
    float4 out[Source::kPlanes];
    source.stage(v, shift, out);
#pragma unroll
    for (int i = 0; i < Source::kPlanes; ++i)
      *reinterpret_cast<float4*>(staged + i * L::kStagedPlane + row * L::kStagedRow + column) = out[i];
  }
};

// Along x: eight outputs of both fields of a pair. out[i] = sum_d w[|d|] in[i + d].
template <int R, class Source>
__device__ __forceinline__ void filter_x(unsigned thread, const float* staged, const Weights& w,
                                         float* filtered) {
  using L = Layout<R, Source>;
  const unsigned row = thread % L::kHeight, task = thread / L::kHeight;
  const unsigned pair = task / (kSide / kColumns), x = task % (kSide / kColumns) * kColumns;
  if (pair >= 2) return;
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

// kStages: staged planes; with two, one barrier a plane is enough. kSingle: the volumes are float32, four
// voxels of which can be read at once; else all follows from their storage type at run time.
template <int R, class Source, class Work, int kStages, bool kSingle>
__global__ void __launch_bounds__(kThreads, 1) march(Source source, Work work, Shape shape, Weights w) {
  using L = Layout<R, Source>;
  if (kSingle) {
    source.in.is_single();
    work.inputs().is_single();
  }
  __shared__ Shared shared;
  DAL_DYNAMIC_SHARED(float, staged);
  float* const filtered = staged + kStages * L::kStaged;
  int* const columns = reinterpret_cast<int*>(filtered + 2 * L::kFiltered);
  int* const rows = columns + 4 * L::kGroups;

  const auto thread = [] { return Work::kTight ? thread_index_anew() : threadIdx.x; };
  const Tile tile(shape);
  if (threadIdx.x == 0) shared.fill(source.in, tile.volume), work.fill(shared);
  if (threadIdx.x < 4 * L::kGroups)
    columns[threadIdx.x] = reflect(tile.x0 - L::kMargin + int(threadIdx.x), shape.width);
  if (threadIdx.x < L::kHeight) rows[threadIdx.x] = reflect(tile.y0 - R + int(threadIdx.x), shape.height);
  __syncthreads();

  Stager<R, Source> stager;
  float sum[kRows][2][2 * R] = {};
  Totals totals;
  const int first = tile.z0 - R, last = tile.z1 - 1 + R;
  stager.fetch(thread(), source, tile, first, rows, columns);
  stager.put(thread(), source, shared.shift, staged);
  __syncthreads();
  for (int z = first; z <= last + 1; ++z) {
    const int parity = (z - first) % 2;
    if (z <= last)
      filter_x<R, Source>(thread(), staged + parity % kStages * L::kStaged, w,
                          filtered + parity * L::kFiltered);
    if (z < last) stager.fetch(thread(), source, tile, z + 1, rows, columns);
    const int done = z - 1 - R;  // the plane that is finished
    uint32_t voxels[kRows] = {};
    if (done >= tile.z0) work.load(tile, Place(thread()), done, voxels);
    float f[kRows][2] = {};
    if (z > first) {
      filter_y<R, Source>(filtered + (1 - parity) * L::kFiltered, Place(thread()), w, f);
      filter_z<R>(f, w, sum);
    }
    if (done >= tile.z0) work.combine(tile, Place(thread()), done, shared, voxels, f, totals);
    if (kStages == 1) __syncthreads();
    if (z < last) stager.put(thread(), source, shared.shift, staged + (1 - parity) % kStages * L::kStaged);
    __syncthreads();
  }
  work.finish(totals);
}

}  // namespace
}  // namespace cuda
}  // namespace dal
