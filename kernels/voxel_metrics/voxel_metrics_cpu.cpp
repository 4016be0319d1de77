// Two passes over the scores: mark the pages, then count. Every thread fills its own table; the tables
// are added bin by bin, so any thread count gives the same integers. A bin is one 16-byte entry, which
// makes a voxel cost one load, one add, one max and one store.
#include <algorithm>

#include "parallel.h"
#include "simd.h"
#include "voxel_metrics/voxel_metrics.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int kChunk = 2048;  // voxels whose keys are computed at a time, in L1
constexpr int64_t kTaskVoxels = 1 << 16;  // about 100 us of counting
constexpr int64_t kTaskBins = 1 << 14;
constexpr int kMaxShares = 256;
constexpr uint32_t kNoPage = ~0u;
constexpr uint32_t kMinusInfinity = 0x007fffffu, kInfinity = 0xff800000u;  // keys; NaN lies outside

// {healthy, lesion, ~lowest key, highest key}; all zero is empty, and max() joins two spans.
typedef uint32_t Entry __attribute__((vector_size(16)));

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

DAL_INLINE uint32_t key_of(float score) {
  score += 0.f;  // -0 becomes +0
  uint32_t bits;
  __builtin_memcpy(&bits, &score, 4);
  return bits ^ (uint32_t(int32_t(bits) >> 31) | 0x80000000u);
}

// Any stored type as float; float64 is rounded, which keeps the order up to ties.
template <class S>
DAL_INLINE void load_floats(const S* p, int n, float* out) {
  for (int i = 0; i < n; ++i) out[i] = float(to_arithmetic(p[i]));
}

// out: a row of kChunk bytes, 0 or 1 whatever nonzero byte the caller's bool has; without p all 1.
DAL_INLINE void load_bits(const uint8_t* p, int n, uint8_t* out) {
  std::memset(out, 1, kChunk);
  if (p)
    for (int i = 0; i < n; ++i) out[i] = p[i] != 0;
}

// Marks the pages of one chunk and returns its number of NaN. Threads share `pages`; once marked, a
// page is only read.
template <class S>
int64_t mark_chunk(const S* score, const uint8_t* mask, int n, uint8_t* pages) {
  float row[kChunk];
  uint8_t inside[kChunk];
  uint32_t page[kChunk];
  load_floats(score, n, row);
  load_bits(mask, n, inside);
  uint32_t nans = 0;
  for (int i = 0; i < n; ++i) {
    const uint32_t key = key_of(row[i]);
    const uint32_t number = key - kMinusInfinity <= kInfinity - kMinusInfinity ? 1u : 0u;
    const uint32_t in = inside[i];
    nans += in & ~number;
    page[i] = in & number ? key >> 16 : kNoPage;
  }
  for (int i = 0; i < n; ++i)
    if (page[i] != kNoPage && !__atomic_load_n(pages + page[i], __ATOMIC_RELAXED))
      __atomic_store_n(pages + page[i], uint8_t(1), __ATOMIC_RELAXED);
  return nans;
}

DAL_INLINE uint64_t eight_bytes(const void* p) {
  uint64_t v;
  __builtin_memcpy(&v, p, 8);
  return v;
}

// Are the eight keys at k the same? Background and saturated scores come in such runs, and counting
// them one by one would wait for the same entry eight times.
DAL_INLINE bool eight_alike(const uint32_t* k) {
  const uint64_t pair = uint64_t(k[0]) << 32 | k[0];
  return ((eight_bytes(k) ^ pair) | (eight_bytes(k + 2) ^ pair) | (eight_bytes(k + 4) ^ pair) |
          (eight_bytes(k + 6) ^ pair)) == 0;
}

DAL_INLINE void count(Entry* entry, uint32_t key, Entry voxels) {
  const Entry flip = {0, 0, ~0u, 0}, keep = {0, 0, ~0u, ~0u};
  const Entry span = ((Entry{} + key) ^ flip) & keep, sum = *entry + voxels;
  *entry = sum > span ? sum : span;
}

template <class S>
void count_chunk(const S* score, const uint8_t* target, const uint8_t* mask, int n, ScoreBins bins,
                 Entry* table) {
  float row[kChunk];
  uint32_t key[kChunk], bin[kChunk];
  uint8_t lesion[kChunk], inside[kChunk];
  load_floats(score, n, row);
  load_bits(target, n, lesion);
  load_bits(mask, n, inside);
  for (int i = 0; i < n; ++i) {
    key[i] = key_of(row[i]);
    bin[i] = uint32_t(bins.base[key[i] >> 16]) + ((key[i] & 0xffffu) >> bins.shift);
  }
  const Entry one[2] = {{1, 0, 0, 0}, {0, 1, 0, 0}};
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    const uint64_t in = eight_bytes(inside + i);
    if (in == 0) continue;
    if (in == 0x0101010101010101u && eight_alike(key + i)) {
      const uint32_t lesions = uint32_t(eight_bytes(lesion + i) * 0x0101010101010101u >> 56);
      count(table + bin[i], key[i], Entry{8 - lesions, lesions, 0, 0});
      continue;
    }
    for (int j = i; j < i + 8; ++j)
      if (inside[j]) count(table + bin[j], key[j], one[lesion[j]]);
  }
  for (; i < n; ++i)
    if (inside[i]) count(table + bin[i], key[i], one[lesion[i]]);
}

// Adds the tables of all threads to the outputs, bins [first, end).
void merge(const Entry* tables, int64_t bins, int64_t used, int64_t first, int64_t end, bool overwrite,
           int64_t* counts, int64_t* span) {
  for (int64_t b = first; b < end; ++b) {
    int64_t healthy = 0, lesion = 0;
    uint32_t inverse_lowest = 0, highest = 0;
    for (int64_t t = 0; t < used; ++t) {
      const Entry e = tables[t * bins + b];
      healthy += e[0];
      lesion += e[1];
      inverse_lowest = std::max(inverse_lowest, uint32_t(e[2]));
      highest = std::max(highest, uint32_t(e[3]));
    }
    const int64_t lowest = ~inverse_lowest;
    counts[2 * b] = healthy + (overwrite ? 0 : counts[2 * b]);
    counts[2 * b + 1] = lesion + (overwrite ? 0 : counts[2 * b + 1]);
    span[2 * b] = overwrite ? lowest : std::min(lowest, span[2 * b]);
    span[2 * b + 1] = overwrite ? highest : std::max<int64_t>(highest, span[2 * b + 1]);
  }
}

template <class S>
void histogram_segment(const S* score, const uint8_t* target, const uint8_t* mask, int64_t voxels,
                       ScoreBins bins, Entry* tables, bool overwrite, int64_t* counts, int64_t* span,
                       int threads) {
  const int64_t tasks = ceil_div(voxels, kTaskVoxels);
  const int64_t used = std::min<int64_t>(threads, tasks);
  parallel_for(used, threads, [&](int64_t t, int) {
    std::memset(tables + t * bins.bins, 0, sizeof(Entry) * size_t(bins.bins));
  });
  parallel_for(tasks, threads, [&](int64_t task, int slot) {
    const int64_t end = std::min(voxels, (task + 1) * kTaskVoxels);
    for (int64_t v = task * kTaskVoxels; v < end; v += kChunk)
      count_chunk(score + v, target + v, mask ? mask + v : nullptr, int(std::min<int64_t>(kChunk, end - v)),
                  bins, tables + slot * bins.bins);
  });
  parallel_for(ceil_div(bins.bins, kTaskBins), threads, [&](int64_t task, int) {
    merge(tables, bins.bins, used, task * kTaskBins, std::min(bins.bins, (task + 1) * kTaskBins), overwrite,
          counts, span);
  });
}

}  // namespace

void score_pages(const void* score, const uint8_t* mask, int64_t voxels, uint8_t* pages, int64_t* nans,
                 DType dtype, int threads) {
  std::memset(pages, 0, kScorePages);
  int64_t found[kMaxShares] = {};
  const int64_t share = std::max(kTaskVoxels, ceil_div(voxels, kMaxShares));
  with_dtype(dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    const S* s = static_cast<const S*>(score);
    parallel_for(ceil_div(voxels, share), threads, [&](int64_t task, int) {
      const int64_t end = std::min(voxels, (task + 1) * share);
      for (int64_t v = task * share; v < end; v += kChunk)
        found[task] +=
            mark_chunk(s + v, mask ? mask + v : nullptr, int(std::min<int64_t>(kChunk, end - v)), pages);
    });
  });
  *nans = 0;
  for (int64_t n : found) *nans += n;
}

int64_t score_histogram_workspace(int64_t bins, int threads) {
  return int64_t(sizeof(Entry)) * bins * threads;
}

void score_histogram(const void* score, const uint8_t* target, const uint8_t* mask, int64_t voxels,
                     ScoreBins bins, int64_t segment, void* workspace, int64_t* counts, int64_t* span,
                     DType dtype, int threads) {
  with_dtype(dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    int64_t v = 0;
    do {  // at least once: an empty volume still writes every output
      histogram_segment(static_cast<const S*>(score) + v, target + v, mask ? mask + v : nullptr,
                        std::min(segment, voxels - v), bins, static_cast<Entry*>(workspace), v == 0, counts,
                        span, threads);
      v += segment;
    } while (v < voxels);
  });
}

}  // namespace DAL_ISA
}  // namespace dal
