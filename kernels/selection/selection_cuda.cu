// Medians of rows on a GPU: the digits of selection.h, the highest first.
//
//   a short row    select_row     one block: all digits, counted in shared memory
//   a long one     clear_rows     counts of every row set to 0
//                  count_digit    many blocks a row: how often each digit occurs among what is in question
//                  choose_digit   a block a row: the digit that holds the rank, and the rank within it
//
// Counts are integers, so that the order in which blocks add theirs changes nothing.
#include "gpu.h"
#include "selection/selection.h"

namespace dal {
namespace cuda {
namespace {

constexpr int kThreads = 512, kLanes = 32, kWarps = kThreads / kLanes;
constexpr int kBins = int(kSelectionDigits), kBinsAThread = kBins / kThreads;
constexpr int kDigits = 3;
constexpr int64_t kShortRow = int64_t(1) << 15;
constexpr int64_t kValuesABlock = int64_t(1) << 14;

// Where the search of a row stands.
struct Place {
  uint32_t prefix;  // the digits that are known
  uint32_t rank;  // among the values that have them
  uint32_t numbers;  // in the row
};

__device__ __forceinline__ int lowest_bit(int digit) { return digit == 0 ? 21 : digit == 1 ? 10 : 0; }
__device__ __forceinline__ int digit_bits(int digit) { return digit == 2 ? 10 : 11; }

// Ordered as the values are.
__device__ __forceinline__ uint32_t key_of(float value) {
  const uint32_t bits = __float_as_uint(value);
  return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}
__device__ __forceinline__ float value_of(uint32_t key) {
  return __uint_as_float(key ^ (key >> 31 ? 0x80000000u : 0xffffffffu));
}

__device__ __forceinline__ void clear(uint32_t* counts) {
  for (int bin = int(threadIdx.x); bin < kBins; bin += kThreads) counts[bin] = 0;
}

// Adds the values from `first` to `last` to counts in shared memory; NaN are no numbers.
__device__ __forceinline__ void count(const float* __restrict__ row, int64_t first, int64_t last, int digit,
                                      uint32_t prefix, uint32_t* counts) {
  const int low = lowest_bit(digit), bits = digit_bits(digit);
  for (int64_t i = first + threadIdx.x; i < last; i += kThreads) {
    const float value = row[i];
    const uint32_t key = key_of(value);
    if (value == value && (digit == 0 || key >> (low + bits) == prefix))
      atomicAdd(&counts[key >> low & ((1u << bits) - 1)], 1u);
  }
}

// The digit that holds the rank; of the first digit, the rank is that of the lower median. Begins and ends
// with the block in step; `sums` has room for kWarps.
__device__ __forceinline__ void choose(const uint32_t* counts, int digit, Place* place, uint32_t* sums) {
  const int lane = int(threadIdx.x) % kLanes, warp = int(threadIdx.x) / kLanes;
  const int first = int(threadIdx.x) * kBinsAThread;
  __syncthreads();
  uint32_t mine = 0;
#pragma unroll
  for (int j = 0; j < kBinsAThread; ++j) mine += counts[first + j];
  uint32_t up_to = warp_scan(mine, lane);
  if (lane == kLanes - 1) sums[warp] = up_to;
  __syncthreads();
  for (int w = 0; w < warp; ++w) up_to += sums[w];
  if (digit == 0 && threadIdx.x == kThreads - 1) *place = {0, up_to ? (up_to - 1) / 2 : 0, up_to};
  __syncthreads();
  const Place before = *place;
  __syncthreads();
  uint32_t below = up_to - mine;
  if (before.numbers && below <= before.rank && before.rank < up_to) {  // one thread
    int bin = first;
    while (before.rank >= below + counts[bin]) below += counts[bin++];
    *place = {before.prefix << digit_bits(digit) | uint32_t(bin), before.rank - below, before.numbers};
  }
  __syncthreads();
}

__device__ __forceinline__ float median_of(const Place& place) {
  return place.numbers ? value_of(place.prefix) : __uint_as_float(0x7fc00000u);
}

__global__ void __launch_bounds__(kThreads)
    select_row(const float* __restrict__ x, int64_t n, float* medians) {
  __shared__ uint32_t counts[kBins], sums[kWarps];
  __shared__ Place place;
  const float* row = x + int64_t(blockIdx.x) * n;
  for (int digit = 0; digit < kDigits; ++digit) {
    clear(counts);
    __syncthreads();
    count(row, 0, n, digit, digit ? place.prefix : 0, counts);
    choose(counts, digit, &place, sums);
  }
  if (threadIdx.x == 0) medians[blockIdx.x] = median_of(place);
}

__global__ void __launch_bounds__(kThreads) clear_rows(uint32_t* counts) {
  clear(counts + int64_t(blockIdx.x) * kBins);
}

__global__ void __launch_bounds__(kThreads)
    count_digit(const float* __restrict__ x, int64_t n, int64_t blocks_a_row, int digit,
                const Place* __restrict__ places, uint32_t* counts) {
  __shared__ uint32_t own[kBins];
  const int64_t row = blockIdx.x / blocks_a_row, first = blockIdx.x % blocks_a_row * kValuesABlock;
  const int64_t last = first + kValuesABlock < n ? first + kValuesABlock : n;
  clear(own);
  __syncthreads();
  count(x + row * n, first, last, digit, digit ? places[row].prefix : 0, own);
  __syncthreads();
  for (int bin = int(threadIdx.x); bin < kBins; bin += kThreads)
    if (own[bin]) atomicAdd(&counts[row * kBins + bin], own[bin]);
}

// Leaves the counts at 0 for the next digit.
__global__ void __launch_bounds__(kThreads)
    choose_digit(uint32_t* counts, int digit, Place* places, float* medians) {
  __shared__ uint32_t own[kBins], sums[kWarps];
  __shared__ Place place;
  counts += int64_t(blockIdx.x) * kBins;
  for (int bin = int(threadIdx.x); bin < kBins; bin += kThreads) {
    own[bin] = counts[bin];
    counts[bin] = 0;
  }
  if (threadIdx.x == 0 && digit) place = places[blockIdx.x];
  choose(own, digit, &place, sums);
  if (threadIdx.x == 0) places[blockIdx.x] = place;
  if (threadIdx.x == 0 && digit == kDigits - 1) medians[blockIdx.x] = median_of(place);
}

}  // namespace

int64_t row_medians_workspace(int64_t rows, int64_t n) {
  if (n <= kShortRow) return 0;
  return rows * int64_t(kBins * sizeof(uint32_t) + sizeof(Place));
}

void row_medians(const float* x, int64_t rows, int64_t n, float* medians, void* workspace,
                 void* stream_pointer) {
  if (rows == 0) return;
  const cudaStream_t stream = as_stream(stream_pointer);
  if (n <= kShortRow) {
    DAL_LAUNCH(select_row, grid_size(rows), kThreads, 0, stream, x, n, medians);
    check_launch("select_row");
    return;
  }
  uint32_t* const counts = static_cast<uint32_t*>(workspace);
  Place* const places = reinterpret_cast<Place*>(counts + rows * kBins);
  const int64_t blocks = ceil_div(n, kValuesABlock);
  DAL_LAUNCH(clear_rows, grid_size(rows), kThreads, 0, stream, counts);
  check_launch("clear_rows");
  for (int digit = 0; digit < kDigits; ++digit) {
    DAL_LAUNCH(count_digit, grid_size(rows * blocks), kThreads, 0, stream, x, n, blocks, digit, places,
               counts);
    check_launch("count_digit");
    DAL_LAUNCH(choose_digit, grid_size(rows), kThreads, 0, stream, counts, digit, places, medians);
    check_launch("choose_digit");
  }
}

}  // namespace cuda
}  // namespace dal
