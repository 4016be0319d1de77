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
constexpr int kRows = 48;  // rows of a tile, at most; 2 kRadius more are sorted
constexpr unsigned kAll = 0xffffffffu;

template <class T>
struct Volumes {
  const T* x;  // (batch * channels, depth, height, width)
  const uint8_t* mask;  // (batch, depth, height, width), or null
  T* out;
  int64_t channels, depth, height, width;
};

// The grid: columns fastest, then planes, rows and volumes.
struct Tiles {
  unsigned columns, planes, rows;
  int height;  // rows of a tile
};

// c b a | a b c | c b a for an axis of any length n.
__device__ __forceinline__ int reflect(int i, int n) {
  while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
  return i;
}

// Keys of one row at a time, in all the planes that two planes of the output look at: shared memory
// (kSize + 1 planes, kPitch columns). The next row is on its way while the networks work on this one.
template <class T, int kSize>
class Source {
 public:
  static constexpr int kPitch = kLanes + kSize - 1, kKeys = (kSize + 1) * kPitch;

  __device__ __forceinline__ Source(const T* volume, const Volumes<T>& v, int x0, int z0, Key* keys)
      : keys_(keys), height_(int(v.height)), width_(v.width) {
    constexpr int kRadius = kSize / 2;
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
      const int item = min(turn * kLanes + int(threadIdx.x), kKeys - 1);
      const int x = min(x0 - kRadius + item % kPitch, int(v.width) - 1 + kRadius);
      const int64_t z = reflect(z0 - kRadius + item / kPitch, int(v.depth));
      column_[turn] = volume + z * v.height * v.width + reflect(x, int(v.width));
    }
  }

  __device__ __forceinline__ void fetch(int y) {
    const int64_t row = reflect(y, height_) * width_;
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) next_[turn] = column_[turn][row];
  }

  __device__ __forceinline__ void publish() {
    __syncwarp();
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
      const int item = turn * kLanes + threadIdx.x;
      if (item < kKeys) keys_[item] = to_key(to_float(next_[turn]));
    }
    __syncwarp();
  }

 private:
  static constexpr int kTurns = (kKeys + kLanes - 1) / kLanes;
  Key* keys_;
  int height_;
  int64_t width_;
  const T* column_[kTurns];
  T next_[kTurns];
};

// A lane's own keys in shared memory: [i] of all lanes lies in 32 different banks.
struct Column {
  Key* first;
  __device__ __forceinline__ Key& operator[](int i) const { return first[i * kLanes]; }
  __device__ __forceinline__ Column operator+(int i) const { return {first + i * kLanes}; }
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
                                  Key* keys, Key* kept)
      : source_(v.x + volume * v.depth * v.height * v.width, v, x0, z0, keys),
        keys_(keys + threadIdx.x),
        kept_{kept + threadIdx.x},
        mask_(v.mask ? v.mask + volume / v.channels * v.depth * v.height * v.width : nullptr),
        out_(v.out + volume * v.depth * v.height * v.width),
        depth_(int(v.depth)),
        height_(v.height),
        width_(v.width),
        x_(x0 + int(threadIdx.x)),
        y0_(y0),
        y1_(y1),
        z0_(z0) {}

  // Rows y and y + 1 are the even and the odd one; a window serves the rows y + 1 - kRadius and
  // y + 2 - kRadius of the output, the second when the next even row is there.
  __device__ __forceinline__ void run() {
    Key even[2][kSquare], odd[2][kSquare], window[2][kSquare + 1];
    int slot = 0;  // of the odd row kRadius steps ago
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
        const Column row = kept_ + (i * kPlane + kPair + slot * kSquare);
        if (!first) merge(even[i], odd[i], y + 1 - kRadius, i, window[i]);
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

  // The window of output rows y and y + 1 in plane i, if any lane wants one.
  __device__ __forceinline__ void merge(const Key (&even)[kSquare], const Key (&odd)[kSquare], int y, int i,
                                        Key (&window)[kSquare + 1]) {
    const bool wanted = any_wanted(y, i) || any_wanted(y + 1, i);
    if constexpr (kSize == 3) {
      if (wanted) networks::window_3(even, odd, window);
    } else {
      const Column before = kept_ + i * kPlane;
      Key pair[kPair];
      networks::pair_5(even, odd, pair);
      if (wanted) networks::window_5(before, pair, window);
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
    if (exists(y, i)) out_[offset(y, i)] = from_float<T>(wants ? from_key(median) : 0.f);
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
  __device__ __forceinline__ bool any_wanted(int y, int i) const { return __any_sync(kAll, wanted(y, i)); }

  Source<T, kSize> source_;
  const Key* keys_;  // this lane's first column
  Column kept_;
  const uint8_t* mask_;
  T* out_;
  int depth_;
  int64_t height_, width_;
  int x_, y0_, y1_, z0_;
};

template <class T, int kSize>
__global__ void __launch_bounds__(kLanes, kSize == 5 ? 8 : 16) median_kernel(Volumes<T> v, Tiles tiles) {
  __shared__ Key keys[Source<T, kSize>::kKeys];
  __shared__ Key kept[Tile<T, kSize>::kKept * kLanes];
  const int x0 = int(blockIdx.x % tiles.columns) * kLanes;
  const unsigned box = blockIdx.x / tiles.columns;
  const int z0 = int(box % tiles.planes) * 2;
  const int y0 = int(box / tiles.planes % tiles.rows) * tiles.height;
  const int64_t volume = box / tiles.planes / tiles.rows;
  const int y1 = min(y0 + tiles.height, int(v.height));
  Tile<T, kSize>(v, volume, x0, y0, y1, z0, keys, kept).run();
}

template <class T, int kSize>
void filter(const T* x, const uint8_t* mask, T* out, const Median3dShape& s, cudaStream_t stream) {
  const int64_t most = ceil_div(s.height, kRows);
  const int64_t height = ceil_div(s.height, 2 * most) * 2, rows = ceil_div(s.height, height);
  const Tiles tiles{unsigned(ceil_div(s.width, kLanes)), unsigned(ceil_div(s.depth, 2)), unsigned(rows),
                    int(height)};
  const int64_t blocks = s.batch * s.channels * rows * tiles.planes * tiles.columns;
  const Volumes<T> v{x, mask, out, s.channels, s.depth, s.height, s.width};
  DAL_LAUNCH((median_kernel<T, kSize>), unsigned(blocks), kLanes, 0, stream, v, tiles);
  check_launch("median3d");
}

}  // namespace

int64_t median3d_workspace(Median3dShape, DType) { return 0; }

void median3d(const void* x, const uint8_t* mask, void* out, void*, Median3dShape shape, DType dtype,
              void* stream) {
  if (shape.batch * shape.channels * shape.depth * shape.height * shape.width == 0) return;
  with_gpu_dtype(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto run = shape.size == 3 ? filter<T, 3> : filter<T, 5>;
    run(static_cast<const T*>(x), mask, static_cast<T*>(out), shape, as_stream(stream));
  });
}

}  // namespace cuda
}  // namespace dal
