// Every pass reads the volume and counts one digit of those keys whose higher digits are known, highest
// first: 11, 11 and 10 bits. Counts are integers, so that the threads' share does not matter.
#include <algorithm>

#include "parallel.h"
#include "selection/selection.h"
#include "simd.h"

namespace dal {
namespace DAL_ISA {
namespace {

constexpr int64_t kChunk = 1 << 16;  // values that a thread takes at a time
constexpr int kMost = 64;  // threads that count at a time

// A key that is ordered as the value is.
DAL_INLINE uint32_t key_of(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits ^ (uint32_t(int32_t(bits) >> 31) | 0x80000000u);
}
DAL_INLINE float value_of(uint32_t key) {
  const uint32_t bits = key & 0x80000000u ? key ^ 0x80000000u : ~key;
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

// Calls f(begin, end, slot) for chunks of [0, n).
template <class F>
void in_chunks(int64_t n, int threads, F&& f) {
  parallel_for(ceil_div(n, kChunk), threads, [&](int64_t chunk, int slot) {
    f(chunk * kChunk, std::min(n, (chunk + 1) * kChunk), slot);
  });
}

}  // namespace

SelectionCounts selection_counts(const float* x, const uint8_t* mask, int64_t n, int threads) {
  SelectionCounts parts[kMost] = {};
  in_chunks(n, std::min(threads, kMost), [&](int64_t begin, int64_t end, int slot) {
    int32_t inside = 0, negative = 0, positive = 0;
    for (int64_t i = begin; i < end; ++i) {
      const int32_t in = mask[i] != 0;
      inside += in;
      negative += in & (x[i] < 0);
      positive += in & (x[i] > 0);
    }
    parts[slot].inside += inside;
    parts[slot].negative += negative;
    parts[slot].positive += positive;
  });
  SelectionCounts all{};
  for (const SelectionCounts& part : parts) {
    all.inside += part.inside;
    all.negative += part.negative;
    all.positive += part.positive;
  }
  return all;
}

float selection_kth(const float* x, const uint8_t* mask, int64_t n, int64_t k, bool positive,
                    void* workspace, int threads) {
  auto* const counts = static_cast<int64_t*>(workspace);
  uint32_t known = 0;  // the digits so far, in their place
  int below = 32;  // bits that are not known yet
  while (below > 0) {
    const int shift = std::max(0, below - 11);
    const uint32_t digits = (uint32_t(1) << (below - shift)) - 1;
    std::fill_n(counts, threads * kSelectionDigits, int64_t(0));
    in_chunks(n, threads, [&](int64_t begin, int64_t end, int slot) {
      int64_t* const count = counts + slot * kSelectionDigits;
      for (int64_t i = begin; i < end; ++i) {
        const uint32_t key = key_of(x[i]);
        const bool in = (!mask || mask[i] != 0) & (!positive | (x[i] > 0)) &
                        (uint64_t(key) >> below == uint64_t(known) >> below);
        if (in) ++count[key >> shift & digits];
      }
    });
    uint32_t digit = 0;
    for (;; ++digit) {
      int64_t of_digit = 0;
      for (int t = 0; t < threads; ++t) of_digit += counts[t * kSelectionDigits + digit];
      if (k < of_digit || digit == digits) break;
      k -= of_digit;
    }
    known |= digit << shift;
    below = shift;
  }
  return value_of(known);
}

}  // namespace DAL_ISA
}  // namespace dal
