// Two passes over the scores: mark the pages, then count. Every thread fills its own tables; they are added
// bin by bin, so any thread count gives the same integers. A bin is one 8-byte entry, which makes a voxel
// cost one load, one add, one max and one store; lesion voxels are counted once more, in a table of theirs.
#include <algorithm>

#include "parallel.h"
#include "simd.h"
#include "voxel_metrics/voxel_metrics.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int kChunk = 1024;  // voxels whose keys are computed at a time, in L1
constexpr int64_t kTaskVoxels = 1 << 16;  // about 100 us of counting
constexpr int64_t kTaskPages = 1 << 8;
constexpr int kMaxShares = 256;
constexpr int kAhead = 24;  // voxels between the prefetch of a bin and its use

// {voxels (32 bits), ~lowest, highest}, keys of the bin counted from its first one; all zero is empty, and
// max() joins two spans.
typedef uint16_t Entry __attribute__((vector_size(8)));
typedef uint32_t Halves __attribute__((vector_size(8)));

// (bins) each; where one thread counts.
struct Table {
  Entry* entries;
  uint32_t* lesions;
};

// The scratch: entries of all threads, then their lesion counters.
struct Tables {
  Entry* entries;
  int64_t bins, threads;

  Table operator[](int64_t t) const {
    return {entries + t * bins, reinterpret_cast<uint32_t*>(entries + threads * bins) + t * bins};
  }
};

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

// Marks the pages of one chunk in `seen`, which has one entry more, for voxels that do not count; returns
// its number of NaN.
template <class S>
int64_t mark_chunk(const S* score, const uint8_t* mask, int n, uint8_t* seen) {
  float row[kChunk] = {};
  uint8_t inside[kChunk];
  int32_t page[kChunk];
  load_floats(score, n, row);
  load_bits(mask, n, inside);
  for (int i = 0; i < n; ++i) page[i] = -int32_t(inside[i]);
  vec<int32_t> nans{};
  for (int i = 0; i < n; i += lanes<int32_t>) {
    const vec<int32_t> bits = (vec<int32_t>)(load(row + i) + 0.f);  // -0 becomes +0
    const vec<int32_t> in = load(page + i), nan = (bits & 0x7fffffff) > 0x7f800000;
    const vec<int32_t> key = bits ^ ((bits >> 31) | INT32_MIN);
    nans -= in & nan;
    store(page + i, select<int32_t>(in & ~nan, (key >> 16) & 0xffff, broadcast(int32_t(kScorePages))));
  }
  for (int i = 0; i < n; ++i) seen[page[i]] = 1;
  int64_t total = 0;
  for (int k = 0; k < lanes<int32_t>; ++k) total += nans[k];
  return total;
}

// Adds what one thread has seen to the pages that all threads share; once marked, a page is only read.
void join_pages(const uint8_t* seen, uint8_t* pages) {
  for (int64_t i = 0; i < kScorePages; i += 8) {
    uint64_t any;
    __builtin_memcpy(&any, seen + i, 8);
    if (!any) continue;
    for (int64_t page = i; page < i + 8; ++page)
      if (seen[page] && !__atomic_load_n(pages + page, __ATOMIC_RELAXED))
        __atomic_store_n(pages + page, uint8_t(1), __ATOMIC_RELAXED);
  }
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

// `span`: as in an Entry, its upper half.
DAL_INLINE void count(Entry* entry, uint32_t voxels, uint32_t span) {
  const Entry spans = (Entry)Halves{0, span}, sum = (Entry)((Halves)*entry + Halves{voxels, 0});
  *entry = sum > spans ? sum : spans;
}

template <class S>
void count_chunk(const S* score, const uint8_t* target, const uint8_t* mask, int n, ScoreBins bins,
                 Table table) {
  float row[kChunk];
  uint32_t key[kChunk], span[kChunk], bin[kChunk + kAhead] = {};
  uint8_t lesion[kChunk], inside[kChunk];
  load_floats(score, n, row);
  load_bits(target, n, lesion);
  load_bits(mask, n, inside);
  const uint32_t offset = (1u << bins.shift) - 1;
  for (int i = 0; i < n; ++i) {
    key[i] = key_of(row[i]);
    bin[i] = uint32_t(bins.base[key[i] >> 16]) + ((key[i] & 0xffffu) >> bins.shift);
    span[i] = (key[i] & offset) << 16 | (0xffffu ^ (key[i] & offset));
  }
  const auto one = [&](int j) {
    count(table.entries + bin[j], 1, span[j]);
    if (lesion[j]) ++table.lesions[bin[j]];
  };
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    const uint64_t in = eight_bytes(inside + i);
    if (in == 0) continue;
    const uint64_t of_lesion = eight_bytes(lesion + i);
    if (in != 0x0101010101010101u) {
      for (int j = i; j < i + 8; ++j)
        if (inside[j]) one(j);
    } else if (eight_alike(key + i)) {
      count(table.entries + bin[i], 8, span[i]);
      table.lesions[bin[i]] += uint32_t(of_lesion * 0x0101010101010101u >> 56);
    } else {
      for (int j = i; j < i + 8; ++j) {
        __builtin_prefetch(
            reinterpret_cast<const void*>(uintptr_t(table.entries) + 8 * uintptr_t(bin[j + kAhead])), 1);
        count(table.entries + bin[j], 1, span[j]);
      }
      if (of_lesion)
        for (int j = i; j < i + 8; ++j) table.lesions[bin[j]] += lesion[j];
    }
  }
  for (; i < n; ++i)
    if (inside[i]) one(i);
}

// Adds the tables of all threads to the outputs, bins [first, end) of one page, whose first key is given.
void merge(const Tables& tables, int64_t used, int64_t first, int64_t end, int64_t first_key, int shift,
           bool overwrite, int64_t* counts, int64_t* span) {
  for (int64_t b = first; b < end; ++b) {
    int64_t voxels = 0, lesions = 0;
    uint16_t inverse_lowest = 0, highest = 0;
    for (int64_t t = 0; t < used; ++t) {
      const Table table = tables[t];
      const Entry e = table.entries[b];
      voxels += ((Halves)e)[0];
      lesions += table.lesions[b];
      inverse_lowest = std::max(inverse_lowest, uint16_t(e[2]));
      highest = std::max(highest, uint16_t(e[3]));
    }
    const int64_t key = first_key + ((b - first) << shift);
    const int64_t low = voxels ? key + uint16_t(~inverse_lowest) : int64_t(~0u),
                  high = voxels ? key + highest : 0;
    counts[2 * b] = voxels - lesions + (overwrite ? 0 : counts[2 * b]);
    counts[2 * b + 1] = lesions + (overwrite ? 0 : counts[2 * b + 1]);
    span[2 * b] = overwrite ? low : std::min(low, span[2 * b]);
    span[2 * b + 1] = overwrite ? high : std::max(high, span[2 * b + 1]);
  }
}

template <class S>
void histogram_segment(const S* score, const uint8_t* target, const uint8_t* mask, int64_t voxels,
                       ScoreBins bins, Entry* workspace, bool overwrite, int64_t* counts, int64_t* span,
                       int threads) {
  const int64_t tasks = ceil_div(voxels, kTaskVoxels), used = std::min<int64_t>(threads, tasks);
  const Tables tables{workspace, bins.bins, threads};
  parallel_for(used, threads, [&](int64_t t, int) {
    const Table table = tables[t];
    std::memset(table.entries, 0, sizeof(Entry) * size_t(bins.bins));
    std::memset(table.lesions, 0, sizeof(uint32_t) * size_t(bins.bins));
  });
  parallel_for(tasks, threads, [&](int64_t task, int slot) {
    const int64_t end = std::min(voxels, (task + 1) * kTaskVoxels);
    for (int64_t v = task * kTaskVoxels; v < end; v += kChunk)
      count_chunk(score + v, target + v, mask ? mask + v : nullptr, int(std::min<int64_t>(kChunk, end - v)),
                  bins, tables[slot]);
  });
  const int64_t bins_of_page = int64_t(1) << (16 - bins.shift);
  parallel_for(kScorePages / kTaskPages, threads, [&](int64_t task, int) {
    for (int64_t page = task * kTaskPages; page < (task + 1) * kTaskPages; ++page)
      if (const int64_t first = bins.base[page]; first >= 0)
        merge(tables, used, first, first + bins_of_page, page << 16, bins.shift, overwrite, counts, span);
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
      uint8_t seen[kScorePages + 1] = {};
      for (int64_t v = task * share; v < end; v += kChunk)
        found[task] +=
            mark_chunk(s + v, mask ? mask + v : nullptr, int(std::min<int64_t>(kChunk, end - v)), seen);
      join_pages(seen, pages);
    });
  });
  *nans = 0;
  for (int64_t n : found) *nans += n;
}

int64_t score_histogram_workspace(int64_t bins, int threads) {
  return int64_t(sizeof(Entry) + sizeof(uint32_t)) * bins * threads;
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
