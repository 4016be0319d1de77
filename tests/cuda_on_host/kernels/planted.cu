// Kernels with a bug planted in them, chosen at run time: what the detectors must find. Bug::none is right.
#include "sample.h"

namespace {

enum class Bug {
  none,
  no_barrier_after_load,
  no_barrier_before_reload,
  divergent_barrier,
  return_before_barrier,
  halo_not_loaded,
  no_barrier_in_reduction,
  no_syncwarp,
  shuffle_without_all_lanes,
  return_before_shuffle,
  plain_increment,
  volatile_increment,
  plain_union,
  volatile_union,
  shared_outside,
  dynamic_shared_outside,
  allocation_outside,
  global_read_outside,
  global_write_outside,
  local_outside,
  misaligned_vector,
  signed_overflow,
  two_threads_one_address,
  two_blocks_one_address,
  volatile_against_plain,
  waits_for_another_block,
};

constexpr unsigned kAll = 0xffffffffu;
constexpr int kTile = 64;

// out[x] = in[x - 1] + in[x] + in[x + 1] in each row, the ends repeated.
//
//   in      . . [0 1 2 ... 63] 64 . .       a tile, and a voxel on either side
//   tile    0    1 2 3 ... 64  65
__global__ void filter(const float* in, float* out, int rows, int width, Bug bug) {
  __shared__ float tile[kTile + 2];
  const int t = int(threadIdx.x), x0 = int(blockIdx.x) * kTile, x = x0 + t;
  if (bug == Bug::return_before_barrier && x >= width) return;
  for (int row = 0; row < rows; ++row) {
    for (int i = t; i < kTile + 2; i += kTile) {
      const int last = bug == Bug::global_read_outside ? width : width - 1;
      if (bug == Bug::halo_not_loaded && i == kTile + 1) continue;
      tile[i] = in[row * width + min(max(x0 + i - 1, 0), last)];
    }
    if (bug == Bug::divergent_barrier) {
      if (x < width) __syncthreads();
    } else if (bug != Bug::no_barrier_after_load) {
      __syncthreads();
    }
    const float sum = tile[t] + tile[t + 1] + tile[t + (bug == Bug::shared_outside ? 4 : 2)];
    if (x < width || (bug == Bug::global_write_outside && row == rows - 1)) out[row * width + x] = sum;
    if (bug != Bug::no_barrier_before_reload) __syncthreads();
  }
}

template <Bug kBug>
void run_filter() {
  constexpr int kRows = 5, kWidth = 3 * kTile - 7;
  std::vector<float> in(size_t(kRows * kWidth)), out(in.size(), -1.0f);
  for (size_t i = 0; i < in.size(); ++i) in[i] = float(i * i % 31);
  const auto blocks = unsigned(dal::ceil_div(kWidth, kTile));
  DAL_LAUNCH(filter, blocks, kTile, 0, nullptr, in.data(), out.data(), kRows, kWidth, kBug);
  check_launch("filter");
  for (int row = 0; row < kRows; ++row)
    for (int x = 0; x < kWidth; ++x) {
      const float* line = &in[size_t(row * kWidth)];
      const float sum = line[max(x - 1, 0)] + line[x] + line[min(x + 1, kWidth - 1)];
      expect(out[size_t(row * kWidth + x)] == sum, "filter");
    }
}

constexpr int kBlock = 256, kWarps = kBlock / 32;

__device__ int warp_sum(int v) {
  for (int step = 16; step; step /= 2) v += __shfl_down_sync(kAll, v, unsigned(step));
  return v;
}

// In thread 0; all threads call it.
__device__ int block_sum(int v, Bug bug) {
  __shared__ int parts[32];
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
  v = warp_sum(v);
  if (bug != Bug::no_barrier_in_reduction) __syncthreads();  // an earlier call may still read
  if (lane == 0) parts[warp] = v;
  __syncthreads();
  if (warp) return 0;
  v = lane < kWarps ? parts[lane] : 0;
  if (bug == Bug::no_syncwarp) {  // as if the lanes went in lockstep
    __shared__ int tree[32];
    tree[lane] = v;
    for (int step = 16; step; step /= 2)
      if (lane < step) tree[lane] += tree[lane + step];
    return tree[0];
  }
  if (bug != Bug::shuffle_without_all_lanes || lane < kWarps) v = warp_sum(v);
  return v;
}

// sums: of the numbers and of their squares
__global__ void reduce(const int* in, int* sums, int n, Bug bug) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (bug == Bug::return_before_shuffle && i >= n) return;
  const int v = i < n ? in[i] : 0;
  const int sum = block_sum(v, bug), squares = block_sum(v * v, bug);
  if (threadIdx.x == 0) {
    atomicAdd(&sums[0], sum);
    atomicAdd(&sums[1], squares);
  }
}

template <Bug kBug>
void run_reduce() {
  constexpr int n = 3 * kBlock - 9;
  std::vector<int> in(n);
  int expected[2] = {}, sums[2] = {};
  for (int i = 0; i < n; ++i) {
    const int v = in[size_t(i)] = i % 17;
    expected[0] += v;
    expected[1] += v * v;
  }
  DAL_LAUNCH(reduce, 3, kBlock, 0, nullptr, in.data(), sums, n, kBug);
  check_launch("reduce");
  expect(sums[0] == expected[0] && sums[1] == expected[1], "sums");
}

__global__ void histogram(int* bins, Bug bug) {
  int* bin = &bins[threadIdx.x % 4];
  if (bug == Bug::plain_increment) {
    ++*bin;
  } else if (bug == Bug::volatile_increment) {
    volatile int* v = bin;
    *v = *v + 1;
  } else {
    atomicAdd(bin, 1);
  }
}

template <Bug kBug>
void run_histogram() {
  int bins[4] = {};
  DAL_LAUNCH(histogram, 4, 64, 0, nullptr, bins, kBug);
  check_launch("histogram");
  for (int count : bins) expect(count == 64, "histogram");
}

__device__ int find_root(const volatile int* parent, int i) {
  for (int up = parent[i]; up != i; up = parent[i]) i = up;
  return i;
}

__device__ void unite(int* parent, int a, int b, Bug bug) {
  for (;;) {
    a = find_root(parent, a);
    b = find_root(parent, b);
    if (a == b) return;
    const int low = min(a, b), high = max(a, b);
    if (bug == Bug::plain_union) {
      parent[high] = low;
      return;
    }
    if (bug == Bug::volatile_union) {  // what another thread hangs there meanwhile is lost
      static_cast<volatile int*>(parent)[high] = low;
      return;
    }
    if (atomicCAS(&parent[high], high, low) == high) return;
  }
}

// Components of a comb: its teeth, in every other column, meet in the last row only.
//
//   # . # . # .       node = voxel; each is united with the right and the upper neighbour
//   # . # . # .
//   # # # # # #
__global__ void components(int* parent, int rows, int columns, Bug bug) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x), x = i % columns, y = i / columns;
  const bool bar = y == rows - 1;
  if (y >= rows || (!bar && x % 2)) return;
  if (bar && x + 1 < columns) unite(parent, i, i + 1, bug);
  if (x % 2 == 0 && y) unite(parent, i, i - columns, bug);
}

template <Bug kBug>
void run_components() {
  constexpr int kRows = 8, kColumns = 64;
  std::vector<int> parent(size_t(kRows * kColumns));
  for (size_t i = 0; i < parent.size(); ++i) parent[i] = int(i);
  DAL_LAUNCH(components, kRows * kColumns / 128, 128, 0, nullptr, parent.data(), kRows, kColumns, kBug);
  check_launch("components");
  for (int i = 0; i < kRows * kColumns; ++i)
    if (i / kColumns == kRows - 1 || i % 2 == 0) expect(find_root(parent.data(), i) == 0, "components");
}

__device__ int* at(int* p, int i) { return p + i; }  // hides an index from the compiler's own checks

// data: n numbers, n = 64 threads of the block. All is right with Bug::none.
__global__ void touch(int* data, int n, Bug bug) {
  __shared__ int shared[64], more[64];
  DAL_DYNAMIC_SHARED(int, dynamic);
  const int t = int(threadIdx.x);
  int local[8];
  for (int i = 0; i < 8; ++i) local[i] = i;
  shared[t] = more[t] = dynamic[t] = t;
  __syncthreads();
  if (bug == Bug::dynamic_shared_outside) *at(dynamic, t + n) = 1;
  if (bug == Bug::allocation_outside) *at(data, t + n) = 1;
  if (bug == Bug::local_outside && t == 0) *at(local, n - 56) = 1;
  if (bug == Bug::misaligned_vector && t == 0) local[1] += reinterpret_cast<int2*>(data + 1)->x;
  if (bug == Bug::signed_overflow) local[t % 8] += 2147483647;
  if (bug == Bug::two_threads_one_address) data[t % 32] = t % 32;
  if (bug == Bug::two_blocks_one_address) data[t] = t;
  if (bug == Bug::volatile_against_plain) {
    if (t == 0) static_cast<volatile int*>(data)[1] = 1;
    if (t == 1) local[0] += data[1];
  }
  if (bug == Bug::waits_for_another_block && blockIdx.x == 0)
    while (static_cast<volatile int*>(data)[0] == 0) continue;
  if (bug == Bug::waits_for_another_block) static_cast<volatile int*>(data)[0] = 1;
  __syncthreads();
  if (bug == Bug::none && blockIdx.x == 0) data[t] = shared[t] + more[63 - t] + dynamic[t] + local[t % 8];
}

template <Bug kBug>
void run_touch() {
  std::vector<int> data(64);
  DAL_LAUNCH(touch, 2, 64, 64 * sizeof(int), nullptr, data.data(), 64, kBug);
  check_launch("touch");
  for (int i = 0; kBug == Bug::none && i < 64; ++i) expect(data[size_t(i)] == 63 + i + i % 8, "touch");
}

void run_touch_allocation() {
  int* data = nullptr;
  cudaMalloc(&data, 64 * sizeof(int));
  DAL_LAUNCH(touch, 2, 64, 64 * sizeof(int), nullptr, data, 64, Bug::allocation_outside);
  cudaFree(data);
  check_launch("touch");
}

#define PLANTED(run, bug) {#bug, run<Bug::bug>}
constexpr Sample kSamples[] = {
    {"right filter", run_filter<Bug::none>},
    {"right reduce", run_reduce<Bug::none>},
    {"right histogram", run_histogram<Bug::none>},
    {"right components", run_components<Bug::none>},
    {"right touch", run_touch<Bug::none>},
    PLANTED(run_filter, no_barrier_after_load),
    PLANTED(run_filter, no_barrier_before_reload),
    PLANTED(run_filter, divergent_barrier),
    PLANTED(run_filter, return_before_barrier),
    PLANTED(run_filter, halo_not_loaded),
    PLANTED(run_filter, shared_outside),
    PLANTED(run_filter, global_read_outside),
    PLANTED(run_filter, global_write_outside),
    PLANTED(run_reduce, no_barrier_in_reduction),
    PLANTED(run_reduce, no_syncwarp),
    PLANTED(run_reduce, shuffle_without_all_lanes),
    PLANTED(run_reduce, return_before_shuffle),
    PLANTED(run_histogram, plain_increment),
    PLANTED(run_histogram, volatile_increment),
    PLANTED(run_components, plain_union),
    PLANTED(run_components, volatile_union),
    PLANTED(run_touch, dynamic_shared_outside),
    {"allocation_outside", run_touch_allocation},
    PLANTED(run_touch, local_outside),
    PLANTED(run_touch, misaligned_vector),
    PLANTED(run_touch, signed_overflow),
    PLANTED(run_touch, two_threads_one_address),
    PLANTED(run_touch, two_blocks_one_address),
    PLANTED(run_touch, volatile_against_plain),
    PLANTED(run_touch, waits_for_another_block),
};

}  // namespace

EXPORT_SAMPLES(kSamples)
