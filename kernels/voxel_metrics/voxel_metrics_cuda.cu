// Two passes over the scores. Every thread takes kVec neighbouring voxels at a time, by one load of each
// array where the alignment allows it.
//
// - score_pages: a table of 65,536 bits in shared memory; a block adds its pages to the global table once.
// - score_histogram: a voxel is one atomic addition to its bin; the span is read first and rarely changes.
//   Most voxels of a volume may share one score (background, saturation): every warp remembers one bin
//   whose voxels it only counts, in registers, until another bin takes its place.
//
// All sums are of integers: the same bits in any order.
#include "gpu.h"
#include "voxel_metrics/voxel_metrics.h"

namespace dal {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMostBlocks = 1056;  // 8 on each of an H200's 132 multiprocessors
constexpr unsigned kAll = 0xffffffffu;
constexpr uint32_t kMinusInfinity = 0x007fffffu, kInfinity = 0xff800000u;  // keys; NaN lies outside
constexpr int kNoBin = -1;
constexpr int kAdopt = 16;  // lanes that must share a bin for the warp to remember it

using Count = unsigned long long;  // what 64-bit atomics take

__device__ __forceinline__ uint32_t key_of(float score) {
  const uint32_t bits = __float_as_uint(score + 0.f);  // -0 becomes +0
  return bits ^ (uint32_t(int32_t(bits) >> 31) | 0x80000000u);
}

// kVec neighbouring elements, moved at once.
template <class T, int kVec>
struct alignas(sizeof(T) * kVec) Pack {
  T v[kVec];
};

// Elements [at, at + kVec) of an array of n; `otherwise` beyond its end or without an array.
template <class T, int kVec>
__device__ __forceinline__ Pack<T, kVec> load(const T* from, int64_t at, int64_t n, T otherwise) {
  if (from && at + kVec <= n) return *reinterpret_cast<const Pack<T, kVec>*>(from + at);
  Pack<T, kVec> pack;
#pragma unroll
  for (int i = 0; i < kVec; ++i) pack.v[i] = from && at + i < n ? from[at + i] : otherwise;
  return pack;
}

// The scores of one load, and which of them count.
template <class T, int kVec>
struct Scores {
  uint32_t key[kVec];
  bool inside[kVec];
  __device__ __forceinline__ Scores(const T* score, const uint8_t* mask, int64_t at, int64_t voxels) {
    const auto s = load<T, kVec>(score, at, voxels, T(0.f));
    const auto m = load<uint8_t, kVec>(mask, at, voxels, 1);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      key[i] = key_of(to_float(s.v[i]));
      inside[i] = m.v[i] != 0 && at + i < voxels;
    }
  }
};

// First voxel of this warp's lane 0, and the voxels that the grid takes at a time.
template <int kVec>
__device__ __forceinline__ int64_t first_voxel() {
  return (int64_t(blockIdx.x) * kThreads + threadIdx.x / 32 * 32) * kVec;
}
template <int kVec>
__device__ __forceinline__ int64_t voxels_at_a_time() {
  return int64_t(gridDim.x) * kThreads * kVec;
}

// pages: kScorePages bytes as words of four, zero before.
template <class T, int kVec>
__global__ void __launch_bounds__(kThreads)
    pages_kernel(const T* score, const uint8_t* mask, int64_t voxels, uint32_t* pages, Count* nans) {
  constexpr int kWords = int(kScorePages / 32);
  __shared__ uint32_t seen[kWords];
  for (int word = threadIdx.x; word < kWords; word += kThreads) seen[word] = 0;
  __syncthreads();
  uint32_t nan = 0;
  for (int64_t v = first_voxel<kVec>(); v < voxels; v += voxels_at_a_time<kVec>()) {
    const Scores<T, kVec> s(score, mask, v + threadIdx.x % 32 * kVec, voxels);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      if (!s.inside[i]) continue;
      const bool number = s.key[i] - kMinusInfinity <= kInfinity - kMinusInfinity;
      const uint32_t page = s.key[i] >> 16, bit = 1u << (page & 31);
      nan += number ? 0 : 1;
      if (number && !(*static_cast<volatile uint32_t*>(seen + page / 32) & bit))
        atomicOr(seen + page / 32, bit);
    }
  }
  nan = __reduce_add_sync(kAll, nan);
  if (nan && threadIdx.x % 32 == 0) atomicAdd(nans, Count(nan));
  __syncthreads();
  for (int word = threadIdx.x; word < kScorePages / 4; word += kThreads) {
    const uint32_t four = seen[word / 8] >> word % 8 * 4 & 15u;
    const uint32_t bytes = four * 0x00204081u & 0x01010101u;  // bit i moves to byte i
    if (bytes & ~*static_cast<volatile uint32_t*>(pages + word)) atomicOr(pages + word, bytes);
  }
}

// counts: zero; span: {2^32 - 1, 0}.
__global__ void __launch_bounds__(kThreads) clear_kernel(int64_t* counts, int64_t* span, int64_t bins) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= 2 * bins) return;
  counts[i] = 0;
  span[i] = i % 2 == 0 ? 0xffffffffll : 0;
}

struct Table {
  Count* counts;  // (bins, 2) healthy, lesion
  Count* span;  // (bins, 2) lowest, highest key

  __device__ __forceinline__ void widen(int bin, uint32_t lowest, uint32_t highest) const {
    Count* const s = span + 2 * int64_t(bin);
    if (lowest < *static_cast<volatile Count*>(s)) atomicMin(s, Count(lowest));
    if (highest > *static_cast<volatile Count*>(s + 1)) atomicMax(s + 1, Count(highest));
  }
  __device__ __forceinline__ void add(int bin, bool lesion, uint32_t voxels) const {
    if (voxels) atomicAdd(counts + 2 * int64_t(bin) + lesion, Count(voxels));
  }
};

// The bin that a warp remembers; every lane has its own share of the counts and of the span.
struct Remembered {
  int bin = kNoBin;
  uint32_t voxels = 0, lesions = 0, lowest = ~0u, highest = 0;

  __device__ __forceinline__ void count(uint32_t key, bool lesion) {
    ++voxels;
    lesions += lesion;
    lowest = min(lowest, key);
    highest = max(highest, key);
  }

  // All lanes at once: empties the shares into the table and turns to another bin.
  __device__ __forceinline__ void turn_to(int next, const Table& table) {
    const uint32_t all = __reduce_add_sync(kAll, voxels), ill = __reduce_add_sync(kAll, lesions);
    const uint32_t low = __reduce_min_sync(kAll, lowest), high = __reduce_max_sync(kAll, highest);
    if (bin != kNoBin && threadIdx.x % 32 == 0) {
      table.add(bin, false, all - ill);
      table.add(bin, true, ill);
      table.widen(bin, low, high);
    }
    *this = {};
    bin = next;
  }
};

// One voxel of each lane; bin: kNoBin where there is none.
__device__ __forceinline__ void count_warp(int bin, uint32_t key, bool lesion, const Table& table,
                                           Remembered& remembered) {
  const unsigned others = __ballot_sync(kAll, bin != kNoBin && bin != remembered.bin);
  if (others) {
    const int candidate = __shfl_sync(kAll, bin, __ffs(int(others)) - 1);
    if (__popc(__ballot_sync(kAll, bin == candidate)) >= kAdopt) remembered.turn_to(candidate, table);
  }
  if (bin == kNoBin) return;
  if (bin == remembered.bin) {
    remembered.count(key, lesion);
  } else {
    table.add(bin, lesion, 1);
    table.widen(bin, key, key);
  }
}

template <class T, int kVec>
__global__ void __launch_bounds__(kThreads)
    count_kernel(const T* score, const uint8_t* target, const uint8_t* mask, int64_t voxels, ScoreBins bins,
                 Table table) {
  Remembered remembered;
  for (int64_t v = first_voxel<kVec>(); v < voxels; v += voxels_at_a_time<kVec>()) {
    const int64_t at = v + threadIdx.x % 32 * kVec;
    const Scores<T, kVec> s(score, mask, at, voxels);
    const auto lesion = load<uint8_t, kVec>(target, at, voxels, 0);
    int bin[kVec];
#pragma unroll
    for (int i = 0; i < kVec; ++i)
      bin[i] = s.inside[i] ? bins.base[s.key[i] >> 16] + int((s.key[i] & 0xffffu) >> bins.shift) : kNoBin;
#pragma unroll
    for (int i = 0; i < kVec; ++i) count_warp(bin[i], s.key[i], lesion.v[i] != 0, table, remembered);
  }
  remembered.turn_to(kNoBin, table);
}

bool is_aligned(const void* p, int64_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

// Calls f(vec), an integral constant: voxels of a load.
template <class F>
void with_vectors(bool vectors, F f) {
  vectors ? f(std::integral_constant<int, 4>{}) : f(std::integral_constant<int, 1>{});
}

unsigned blocks_of(int64_t voxels, int vec) {
  const int64_t blocks = ceil_div(voxels, int64_t(kThreads) * vec);
  return unsigned(blocks < kMostBlocks ? blocks : kMostBlocks);
}

}  // namespace

int64_t score_histogram_workspace(int64_t) { return 0; }

void score_pages(const void* score, const uint8_t* mask, int64_t voxels, uint8_t* pages, int64_t* nans,
                 DType dtype, void* stream) {
  check_call(cudaMemsetAsync(pages, 0, kScorePages, as_stream(stream)), "score_pages");
  check_call(cudaMemsetAsync(nans, 0, sizeof(*nans), as_stream(stream)), "score_pages");
  if (voxels == 0) return;
  with_gpu_dtype(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_vectors(is_aligned(score, 4 * sizeof(T)) && is_aligned(mask, 4), [&](auto vec) {
      DAL_LAUNCH((pages_kernel<T, vec>), blocks_of(voxels, vec), kThreads, 0, as_stream(stream),
                 static_cast<const T*>(score), mask, voxels, reinterpret_cast<uint32_t*>(pages),
                 reinterpret_cast<Count*>(nans));
    });
  });
  check_launch("score_pages");
}

void score_histogram(const void* score, const uint8_t* target, const uint8_t* mask, int64_t voxels,
                     ScoreBins bins, int64_t /*segment*/, void*, int64_t* counts, int64_t* span,
                     DType dtype, void* stream) {
  if (bins.bins == 0) return;
  DAL_LAUNCH(clear_kernel, grid_size(ceil_div(2 * bins.bins, kThreads)), kThreads, 0, as_stream(stream),
             counts, span, bins.bins);
  check_launch("score_histogram");
  if (voxels == 0) return;
  const Table table{reinterpret_cast<Count*>(counts), reinterpret_cast<Count*>(span)};
  with_gpu_dtype(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_vectors(
        is_aligned(score, 4 * sizeof(T)) && is_aligned(target, 4) && is_aligned(mask, 4), [&](auto vec) {
          DAL_LAUNCH((count_kernel<T, vec>), blocks_of(voxels, vec), kThreads, 0, as_stream(stream),
                     static_cast<const T*>(score), target, mask, voxels, bins, table);
        });
  });
  check_launch("score_histogram");
}

}  // namespace cuda
}  // namespace dal
