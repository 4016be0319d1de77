// A warp is a tile of its own: 32 columns in x, two planes of the output in z, and it marches through y
// two rows at a time. A lane is one column; nothing passes between lanes but the keys of a row.
//
//         x: 32 lanes                   z: out_0, out_1 share planes b c d e
//       ┌─────────────┐                    a b c d e
//       │  two rows   │ ↓ y                  b c d e f
//       └─────────────┘
//
//   row of keys ── squares: sorted 5x5 of both planes ── pair: two rows, 50 ── window: two pairs, the 26
//   (shared, all lanes read 5)                                                 ranks that can be medians
//   ── select: with the row before the window, or with the row after it, the medians of y and y + 1
//
// What the next step needs of this one (pairs and odd rows) waits in the lane's column of shared memory.
// networks.cuh is written by generate_cuda.py; README.md counts the instructions.
#include "gpu.h"
#include "median3d/median3d.h"
#include "median3d/networks.cuh"

namespace dal {
namespace cuda {
namespace {

constexpr int kLanes = 32;
constexpr int64_t kFewestRows = 16, kMostRows = 192;  // of a tile
constexpr unsigned kAll = 0xffffffffu;

// T: uint32_t or uint16_t, the bits of floats.
template <class T>
struct Volumes {
  const T* x;  // (batch * channels, depth, height, width)
  const uint8_t* mask;  // (batch, depth, height, width), or null
  T* out;
  int64_t channels, depth, height, width;
  Key minus_infinity;
};

// The grid: columns fastest, then planes, rows and volumes.
struct Tiles {
  unsigned columns, planes, rows;
  int height;  // rows of a tile
};

// Keys of one row at a time, in all the planes that two planes of the output look at: shared memory
// (kPlanes, kPitch). The next row is on its way while the networks work on this one.
//
//            lane 0 .. 31          0 1 2 3
//   plane 0 [████████████████████][░░░░░░░]   ░: one key a lane for the margins of all planes together
//   plane 5 [████████████████████][░░░░░░░]
template <class T, int kSize>
class Source {
 public:
  static constexpr int kMargin = kSize - 1, kPitch = kLanes + kMargin;
  static constexpr int kPlanes = kSize + 1, kKeys = kPlanes * kPitch;

  struct Shared {
    int64_t offsets[kPlanes];  // of the planes in the volume
    Key keys[kKeys];
  };

  // The first column is x0 - kRadius, the first plane z0 - kRadius.
  __device__ __forceinline__ Source(const T* volume, const Volumes<T>& v, int x0, int z0, Shared& shared)
      : volume_(volume),
        keys_(shared.keys),
        offsets_(shared.offsets),
        height_(int(v.height)),
        width_(v.width),
        minus_infinity_(v.minus_infinity) {
    const int first = x0 - kSize / 2, last = int(v.width) - 1 + kSize / 2, lane = int(threadIdx.x);
    if (lane < kPlanes)
      shared.offsets[lane] = reflect(z0 - kSize / 2 + lane, int(v.depth)) * v.height * v.width;
    __syncwarp();
    column_ = reflect(min(first + lane, last), int(v.width));
    margin_ = offsets_[min(lane / kMargin, kPlanes - 1)] +
              reflect(min(first + kLanes + lane % kMargin, last), int(v.width));
  }

  __device__ __forceinline__ void fetch(int y) {
    const T* row = volume_ + reflect(y, height_) * width_;
    next_margin_ = row[margin_];
    row += column_;
#pragma unroll
    for (int plane = 0; plane < kPlanes; ++plane) next_[plane] = row[offsets_[plane]];
  }

  __device__ __forceinline__ void publish() {
    __syncwarp();
    const int lane = int(threadIdx.x);
#pragma unroll
    for (int plane = 0; plane < kPlanes; ++plane)
      keys_[plane * kPitch + lane] = to_key(next_[plane], minus_infinity_);
    if (lane < kPlanes * kMargin)
      keys_[lane / kMargin * kPitch + kLanes + lane % kMargin] = to_key(next_margin_, minus_infinity_);
    __syncwarp();
  }

 private:
  const T* volume_;
  Key* keys_;
  const int64_t* offsets_;
  int height_;
  int64_t width_;
  Key minus_infinity_;
  int column_;
  int64_t margin_;  // offset of the lane's key in the margins, in row 0
  T next_[kPlanes], next_margin_;
};

// The lane's own kKeys keys of those that all lanes have in shared memory. Four of a lane lie side by side,
// so that they move at once; of those that remain, [i] of all lanes lies in 32 different banks.
//
//   [0..3] of lane 0, of lane 1, ..., [4..7] of lane 0, ...
//   the last kKeys % 4: [i] of lane 0, of lane 1, ...
template <int kKeys>
struct Column {
  Key* first;  // of lane 0, 16 bytes aligned
  __device__ __forceinline__ Key& operator[](int i) const {
    const int lane = int(threadIdx.x);
    return i < kKeys / 4 * 4 ? first[i / 4 * 4 * kLanes + 4 * lane + i % 4] : first[i * kLanes + lane];
  }
};

template <class T, int kSize>
class Tile {
  static constexpr int kRadius = kSize / 2, kSquare = kSize * kSize;
  static constexpr int kPair = kSize == 5 ? 2 * kSquare : 0;
  static constexpr int kPlane = kPair + kRadius * kSquare;  // kept keys: a pair and kRadius odd rows

 public:
  static constexpr int kKept = 2 * kPlane;  // keys a lane keeps

  // Output: columns [x0, x0 + 32), rows [y0, y1), planes z0 and z0 + 1, cut to the volume.
  __device__ __forceinline__ Tile(const Volumes<T>& v, int64_t volume, int x0, int y0, int y1, int z0,
                                  typename Source<T, kSize>::Shared& shared, Key* kept)
      : source_(v.x + volume * v.depth * v.height * v.width, v, x0, z0, shared),
        keys_(shared.keys + threadIdx.x),
        kept_(kept),
        mask_(v.mask ? v.mask + volume / v.channels * v.depth * v.height * v.width : nullptr),
        out_(v.out + volume * v.depth * v.height * v.width),
        depth_(int(v.depth)),
        height_(v.height),
        width_(v.width),
        minus_infinity_(v.minus_infinity),
        x_(x0 + int(threadIdx.x)),
        y0_(y0),
        y1_(y1),
        z0_(z0) {}

  // Leaves only the rows between the first and the last that the mask wants, and blanks the others.
  // Returns whether any is left.
  __device__ __forceinline__ bool trim() {
    if (!mask_) return true;
    int first = y1_, last = y0_ - 1;
    for (int y = y0_; y < y1_; ++y)
      if (wanted(y, 0) || wanted(y, 1)) {
        first = min(first, y);
        last = y;
      }
    first = __reduce_min_sync(kAll, first);
    last = __reduce_max_sync(kAll, last);
    for (int y = y0_; y < y1_; ++y)
#pragma unroll
      for (int i = 0; i < 2; ++i)
        if ((y < first || y > last) && exists(y, i)) out_[offset(y, i)] = T(0);
    y0_ = first;
    y1_ = last + 1;
    return first <= last;
  }

  // Rows y and y + 1 are the even and the odd one; a window serves the rows y + 1 - kRadius and
  // y + 2 - kRadius of the output, the second when the next even row is there.
  __device__ __forceinline__ void run() {
    Key even[2][kSquare], odd[2][kSquare], window[2][kSquare + 1];
    int slot = 0;  // of the odd row kRadius steps ago
    // the first window looks at a pair that there is not, and nobody at the window
    if constexpr (kPair > 0) {
#pragma unroll
      for (int k = 0; k < 2 * kPair; ++k) Column<kPair>{kept_ + k / kPair * kPlane * kLanes}[k % kPair] = 0;
    }
    source_.fetch(y0_ - kRadius);
    for (int y = y0_ - kRadius - 1; y - kRadius < y1_; y += 2) {
      const bool first = y < y0_ - kRadius;  // only its odd row counts
      if (!first) {
        squares(y, even);
#pragma unroll
        for (int i = 0; i < 2; ++i) finish(window[i], even[i], y - kRadius, i);
      }
      if (y + 1 - kRadius >= y1_) break;
      squares(y + 1, odd);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const Column<kSquare> row{kept_ + (i * kPlane + kPair + slot * kSquare) * kLanes};
        if (!first) merge(even[i], odd[i], i, window[i]);
        finish(window[i], row, y + 1 - kRadius, i);
#pragma unroll
        for (int k = 0; k < kSquare; ++k) row[k] = odd[i][k];
      }
      slot = slot + 1 < kRadius ? slot + 1 : 0;
    }
  }

 private:
  __device__ __forceinline__ void squares(int y, Key (&out)[2][kSquare]) {
    source_.publish();
    source_.fetch(y + 1);
    if constexpr (kSize == 3)
      networks::squares_3<Source<T, kSize>::kPitch>(keys_, out[0], out[1]);
    else
      networks::squares_5<Source<T, kSize>::kPitch>(keys_, out[0], out[1]);
  }

  // The window of two rows of the output in plane i. Also where the mask wants neither, which is seldom
  // after trim(): with a branch around the window the compiler makes the pair twice, to spare registers.
  __device__ __forceinline__ void merge(const Key (&even)[kSquare], const Key (&odd)[kSquare], int i,
                                        Key (&window)[kSquare + 1]) {
    if constexpr (kSize == 3) {
      networks::window_3(even, odd, window);
    } else {
      const Column<kPair> before{kept_ + i * kPlane * kLanes};
      Key pair[kPair];
      networks::pair_5(even, odd, pair);
      networks::window_5(before, pair, window);
#pragma unroll
      for (int k = 0; k < kPair; ++k) before[k] = pair[k];
    }
  }

  // Writes row y of plane i: the median of the window and one more row.
  template <class Row>
  __device__ __forceinline__ void finish(const Key (&window)[kSquare + 1], const Row& row, int y, int i) {
    Key median = 0;
    const bool wants = wanted(y, i);
    if (__any_sync(kAll, wants)) {
      if constexpr (kSize == 3)
        networks::select_3(window, row, median);
      else
        networks::select_5(window, row, median);
    }
    if (exists(y, i)) out_[offset(y, i)] = wants ? from_key<T>(median, minus_infinity_) : T(0);
  }

  __device__ __forceinline__ bool exists(int y, int i) const {
    return y >= y0_ && y < y1_ && z0_ + i < depth_ && x_ < width_;
  }
  __device__ __forceinline__ int64_t offset(int y, int i) const {
    return ((z0_ + i) * height_ + y) * width_ + x_;
  }
  __device__ __forceinline__ bool wanted(int y, int i) const {
    return exists(y, i) && (!mask_ || mask_[offset(y, i)]);
  }

  Source<T, kSize> source_;
  const Key* keys_;  // this lane's first column
  Key* kept_;
  const uint8_t* mask_;
  T* out_;
  int depth_;
  int64_t height_, width_;
  Key minus_infinity_;
  int x_, y0_, y1_, z0_;
};

template <class T, int kSize>
__global__ void __launch_bounds__(kLanes, kSize == 5 ? 8 : 16) median_kernel(Volumes<T> v, Tiles tiles) {
  __shared__ typename Source<T, kSize>::Shared source;
  alignas(16) __shared__ Key kept[Tile<T, kSize>::kKept * kLanes];
  const int x0 = int(blockIdx.x % tiles.columns) * kLanes;
  const unsigned box = blockIdx.x / tiles.columns;
  const int z0 = int(box % tiles.planes) * 2;
  const int y0 = int(box / tiles.planes % tiles.rows) * tiles.height;
  const int64_t volume = box / tiles.planes / tiles.rows;
  const int y1 = min(y0 + tiles.height, int(v.height));
  Tile<T, kSize> tile(v, volume, x0, y0, y1, z0, source, kept);
  if (tile.trim()) tile.run();
}

// Rows of a tile, even. The tiles of a grid go through the multiprocessors in rounds, and each sorts
// kSize - 1 rows beyond its own: low ones sort many twice, of high ones the last round is long and half
// empty.
//
// abreast: tiles of any height that lie side by side, in all volumes.
template <int kSize>
int64_t tile_height(int64_t height, int64_t abreast) {
  constexpr int64_t kAtOnce = kMultiprocessors * (kSize == 5 ? 8 : 18);  // see README.md
  int64_t best = 0, least = INT64_MAX;
  for (int64_t rows = kFewestRows; rows <= kMostRows; rows += 2) {
    const int64_t rounds = ceil_div(abreast * ceil_div(height, rows), kAtOnce);
    if (rounds * (rows + kSize - 1) < least) {
      best = rows;
      least = rounds * (rows + kSize - 1);
    }
  }
  return best;
}

template <class T, int kSize>
void filter(const void* x, const uint8_t* mask, void* out, const Median3dShape& s, Key minus_infinity,
            cudaStream_t stream) {
  const int64_t columns = ceil_div(s.width, kLanes), planes = ceil_div(s.depth, 2);
  const int64_t abreast = s.batch * s.channels * planes * columns;
  const int64_t height = tile_height<kSize>(s.height, abreast), rows = ceil_div(s.height, height);
  const Tiles tiles{unsigned(columns), unsigned(planes), unsigned(rows), int(height)};
  const int64_t blocks = abreast * rows;
  const Volumes<T> v{static_cast<const T*>(x),
                     mask,
                     static_cast<T*>(out),
                     s.channels,
                     s.depth,
                     s.height,
                     s.width,
                     minus_infinity};
  DAL_LAUNCH((median_kernel<T, kSize>), grid_size(blocks), kLanes, 0, stream, v, tiles);
  check_launch("median3d");
}

}  // namespace

int64_t median3d_workspace(Median3dShape, DType) { return 0; }

void median3d(const void* x, const uint8_t* mask, void* out, void*, Median3dShape shape, DType dtype,
              void* stream) {
  if (shape.batch * shape.channels * shape.depth * shape.height * shape.width == 0) return;
  const auto run = [&](auto bits, Key minus_infinity) {
    using T = decltype(bits);
    const auto sized = shape.size == 3 ? filter<T, 3> : filter<T, 5>;
    sized(x, mask, out, shape, minus_infinity, as_stream(stream));
  };
  switch (dtype) {
    case DType::f32:
      return run(uint32_t(), ~0xff800000u);
    case DType::f16:
      return run(uint16_t(), ~0xfc000000u);
    case DType::bf16:
      return run(uint16_t(), ~0xff800000u);
    default:
      throw std::invalid_argument("the CUDA kernels take float32, float16 and bfloat16");
  }
}

}  // namespace cuda
}  // namespace dal
